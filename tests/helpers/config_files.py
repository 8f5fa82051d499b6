"""Config files that change one of configs/."""

from tests.helpers.paths import CONFIGS


def changing(name: str, changes: str) -> str:
    """Returns the source of a config file: `quick` of another, and lines that change `config`.

    Args:
        name: The other file's, in configs/.
        changes: Statements, at any indent.
    """
    lines = "\n".join(f"    {line.strip()}" for line in changes.strip().splitlines())
    return f"""
import importlib.util
from lelp_jax import methods
from ml_collections import ConfigDict

def get_config():
    spec = importlib.util.spec_from_file_location("{name}_config", {str(CONFIGS / name)!r} ".py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("quick")
{lines}
    return config
"""
