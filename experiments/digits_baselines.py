"""All methods on the parity of digits, under one protocol.

    python -m lelp_jax.main --config=experiments/digits_baselines.py

Data and networks are those of configs/digits.py: students see 100 images, even or odd. Each of the 8
replicates has its own teacher, so replicates are independent. Every method tries 8 combinations of
hyperparameters and is selected on validation rows. Takes six minutes on 2 CPU cores. Results: test
accuracy in percent, difference to kd [95 % interval], p-value after Holm's correction for 28 methods.

    kd                     94.24
    labels                 92.43  -1.81 [-3.26, -0.73]   0.786
    dkd                    the same as kd with two classes
    ttm                    94.51  +0.28 [-0.28, +0.87]   1.000
    wttm                   95.10  +0.87 [+0.28, +1.53]   0.786
    nkd                    92.40  -1.84 [-3.30, -0.76]   0.768
    dist                   93.40  -0.83 [-1.98, +0.24]   1.000
    logit_standardization  refused with two classes
    embedding_mse          95.52  +1.28 [+0.69, +1.77]   0.082
    embedding_cosine       95.17  +0.94 [+0.07, +1.70]   1.000
    fitnet                 95.10  +0.87 [+0.07, +1.46]   1.000
    vid                    94.44  +0.21 [-0.07, +0.59]   1.000
    rkd                    94.17  -0.07 [-0.59, +0.35]   1.000
    crd                    95.31  +1.08 [+0.52, +1.56]   0.152
    cka                    94.24  +0.00 [-0.17, +0.28]   1.000
    simkd                  95.97  +1.74 [+1.25, +2.19]   0.007
    subclass_distillation  97.08  +2.85 [+1.98, +3.72]   0.015
    subclass_matched       96.74  +2.50 [+1.46, +3.54]   0.082
    lelp                   93.99  -0.24 [-1.11, +0.59]   1.000
    lelp_dist              95.10  +0.87 [+0.17, +1.56]   1.000
    lelp_standardized      94.65  +0.42 [-0.21, +0.97]   1.000
    lelp_ensemble          94.62  +0.38 [-0.28, +1.11]   1.000
    lelp_unrotated         94.62  +0.38 [-0.24, +1.04]   1.000
    pca                    93.96  -0.28 [-1.25, +0.76]   1.000
    random_projection      93.68  -0.56 [-1.56, +0.35]   1.000
    soft_kmeans            97.15  +2.92 [+2.12, +3.61]   0.006
    kmeans                 94.76  +0.52 [-0.21, +1.25]   1.000
    agglomerative          95.21  +0.97 [-0.17, +1.94]   1.000
    tsne_kmeans            94.27  +0.03 [-0.87, +1.01]   1.000
    oracle                 95.42  +1.18 [+0.17, +2.19]   1.000
    random_split           90.35  -3.89 [-5.03, -2.71]   0.014

The teachers reach 98.54.
"""

from ml_collections import ConfigDict

from configs import digits
from lelp_jax import methods


def get_config(mode: str = "") -> ConfigDict:
    config = digits.get_config(mode)
    quick = mode == "quick"
    config.replicates = config.teacher.count = 2 if quick else 8
    config.methods = methods.default_config(*methods.METHODS, trials=2 if quick else 8)
    return config
