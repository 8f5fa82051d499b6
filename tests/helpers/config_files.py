"""Config files that change one of configs/."""

import textwrap

from tests.helpers.paths import CONFIGS


def changing(name: str, changes: str) -> str:
    """Returns the source of a config file: `quick` of another, and lines that change `config`.

    Args:
        name: The other file's, in configs/.
        changes: Statements, at any indent.
    """
    lines = textwrap.indent(textwrap.dedent(changes).strip(), "    ")
    return f"""
import importlib.util
from lelp_jax import methods
from ml_collections import ConfigDict

def get_config():
    spec = importlib.util.spec_from_file_location("{name}_config", {str(CONFIGS / f"{name}.py")!r})
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("quick")
{lines}
    return config
"""
