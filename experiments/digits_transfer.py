"""What do pseudo-subclasses give as students see more examples?

    python -m lelp_jax.main --config=experiments/digits_transfer.py:300
    python -m lelp_jax.main --config=experiments/digits_transfer.py:0     # all training rows

configs/digits.py with another number of rows per student; 100 is the demo's own.
"""

from ml_collections import ConfigDict

from configs import digits


def get_config(rows: str) -> ConfigDict:
    config = digits.get_config()
    config.data.transfer_size = int(rows)
    return config
