"""All methods on the parity of digits, under one protocol.

    python -m lelp_jax.main --config=experiments/digits_baselines.py

Data and networks are those of configs/digits.py: students see 100 images, even or odd. Each of the 8
replicates has its own teacher, so replicates are independent. Every method tries 8 combinations of
hyperparameters and is selected on validation rows. Takes six minutes on 2 CPU cores. Results: test
accuracy in percent, difference to kd [95 % interval], p-value after Holm's correction for 28 methods. The
last three are references, not methods.

    labels                 92.43  -1.81 [-3.57, -0.04]   0.877
    kd                     94.24
    dkd                    the same as kd with two classes
    ttm                    94.93  +0.69 [+0.05, +1.34]   0.805
    wttm                   94.20  -0.03 [-0.77, +0.70]   1.000
    nkd                    92.40  -1.84 [-3.60, -0.08]   0.849
    dist                   94.58  +0.35 [-0.80, +1.50]   1.000
    logit_standardization  refused with two classes
    embedding_mse          95.52  +1.28 [+0.55, +2.02]   0.085
    embedding_cosine       95.17  +0.94 [-0.14, +2.01]   1.000
    fitnet                 95.10  +0.87 [-0.08, +1.82]   1.000
    vid                    94.44  +0.21 [-0.23, +0.65]   1.000
    rkd                    94.17  -0.07 [-0.70, +0.56]   1.000
    crd                    95.31  +1.08 [+0.40, +1.75]   0.152
    cka                    94.24  +0.00 [-0.30, +0.30]   1.000
    simkd                  95.97  +1.74 [+1.06, +2.41]   0.006
    subclass_distillation  97.08  +2.85 [+1.38, +4.31]   0.023
    subclass_matched       97.26  +3.02 [+1.73, +4.31]   0.003
    lelp                   93.99  -0.24 [-1.53, +1.04]   1.000
    lelp_dist              95.10  +0.87 [-0.26, +1.99]   1.000
    lelp_standardized      94.65  +0.42 [-0.36, +1.19]   1.000
    lelp_ensemble          94.62  +0.38 [-0.69, +1.46]   1.000
    lelp_unrotated         94.62  +0.38 [-0.51, +1.27]   1.000
    pca                    93.96  -0.28 [-1.78, +1.23]   1.000
    random_projection      93.68  -0.56 [-1.85, +0.74]   1.000
    soft_kmeans            97.15  +2.92 [+1.55, +4.29]   0.009
    kmeans                 94.76  +0.52 [-0.90, +1.94]   1.000
    agglomerative          95.21  +0.97 [-0.72, +2.66]   1.000
    tsne_kmeans            94.27  +0.03 [-1.49, +1.56]   1.000
    oracle                 95.42  +1.18 [-0.53, +2.89]   1.000
    random_split           90.35  -3.89 [-5.71, -2.07]   0.015
    majority               50.56  -43.68 [-49.18, -38.19]
    linear                 89.69  -4.55 [-6.21, -2.89]
    linear_all_rows        92.78  -1.46 [-3.60, +0.68]

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
