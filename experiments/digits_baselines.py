"""Which method is best for digits parity? Every method, one protocol.

    python -m lelp_jax.main --config=experiments/digits_baselines.py

The data and the networks of configs/digits.py: students see 100 images, even or odd. Each of the 8
replicates has a teacher of its own, so that replicates are independent. Every method tries 8 of its
settings, chosen on validation rows. Six minutes on 2 CPU cores. Reached there: test accuracy in
percent, difference to kd [95 % interval], p-value after Holm's correction for 28 methods.

    kd                     94.06
    labels                 92.43  -1.63 [-2.50, -0.83]   0.204
    dkd                    with two classes it is kd
    ttm                    94.51  +0.45 [-0.31, +1.18]   1.000
    wttm                   95.10  +1.04 [+0.21, +1.87]   0.984
    nkd                    92.40  -1.67 [-2.57, -0.87]   0.202
    dist                   94.27  +0.21 [-0.80, +1.11]   1.000
    logit_standardization  refused with two classes
    embedding_mse          94.44  +0.38 [-0.21, +1.04]   1.000
    embedding_cosine       95.17  +1.11 [+0.14, +2.05]   1.000
    fitnet                 95.10  +1.04 [+0.17, +1.87]   0.987
    vid                    94.44  +0.38 [-0.17, +1.04]   1.000
    rkd                    94.17  +0.10 [-0.42, +0.66]   1.000
    crd                    95.31  +1.25 [+0.35, +2.19]   0.772
    cka                    94.10  +0.03 [-0.80, +0.90]   1.000
    simkd                  95.97  +1.91 [+1.18, +2.88]   0.131
    subclass_distillation  97.01  +2.95 [+1.74, +4.37]   0.119
    subclass_matched       96.67  +2.60 [+1.60, +3.65]   0.067
    lelp                   94.13  +0.07 [-0.83, +0.80]   1.000
    lelp_dist              95.10  +1.04 [+0.49, +1.56]   0.204
    lelp_standardized      94.65  +0.59 [-0.28, +1.60]   1.000
    lelp_ensemble          94.62  +0.56 [-0.17, +1.39]   1.000
    lelp_unrotated         94.62  +0.56 [-0.42, +1.56]   1.000
    pca                    93.51  -0.56 [-1.32, +0.21]   1.000
    random_projection      92.53  -1.53 [-2.50, -0.59]   0.434
    soft_kmeans            97.15  +3.09 [+2.08, +4.13]   0.026
    kmeans                 94.76  +0.69 [+0.10, +1.25]   0.992
    agglomerative          95.45  +1.39 [+0.42, +2.33]   0.570
    tsne_kmeans            94.51  +0.45 [-0.42, +1.28]   1.000
    oracle                 94.48  +0.42 [-0.28, +0.97]   1.000
    random_split           90.35  -3.72 [-4.65, -2.53]   0.011

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
