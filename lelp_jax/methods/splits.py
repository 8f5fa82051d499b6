"""Every method that is a way to split classes: LELP, its ablations, clusterings and controls.

They share loss and readout (`pseudo_subclass`) and differ in the projector that scores a row's
pseudo-subclasses, and in what is pinned of its hyperparameters.
"""

from lelp_jax.core import search_space
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import (
    kmeans,
    lelp,
    lelp_ensemble,
    oracle,
    random_projection,
    random_split,
    sampled,
    soft_kmeans,
)

_PAPER = "Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449"
# A hard assignment, the default of clusterings, does not depend on beta.
_HARD_BY_DEFAULT = search_space.BETA.replace_default(1.0)

LELP = pseudo_subclass.build_method(
    name="lelp",
    reference=f"{_PAPER}, 2024",
    projector=lelp.PROJECTOR,
)

# Several rotations of LELP's subspaces at once, each taught to a head of its own.
LELP_ENSEMBLE = pseudo_subclass.build_method(
    name="lelp_ensemble",
    reference="this project; one rotation: LELP, section 3",
    projector=lelp_ensemble.PROJECTOR,
)

# Ablation: the principal components in the null space as they are.
LELP_UNROTATED = pseudo_subclass.build_method(
    name="lelp_unrotated",
    reference=f"{_PAPER}, appendix C, 2024",
    projector=lelp.PROJECTOR,
    pinned={
        "rotate": search_space.ROTATE.fix_to(False, "as method 'lelp' is the one that rotates")
    },
)

# Ablation: neither null space nor rotation.
PCA = pseudo_subclass.build_method(
    name="pca",
    reference=f"{_PAPER}, appendix C, 2024",
    projector=lelp.PROJECTOR,
    pinned={
        "null_space": search_space.NULL_SPACE.fix_to(
            False, "as the components are those of the embedding itself"
        ),
        "rotate": search_space.ROTATE.fix_to(
            False, "as the directions are the components themselves"
        ),
    },
)

# Ablation: directions that do not know where a class varies.
RANDOM_PROJECTION = pseudo_subclass.build_method(
    name="random_projection",
    reference=f"{_PAPER}, appendix C, 2024",
    projector=random_projection.PROJECTOR,
)

SOFT_KMEANS = pseudo_subclass.build_method(
    name="soft_kmeans",
    reference="this project; hard k-means splits: LELP, section 4",
    projector=soft_kmeans.PROJECTOR,
)

KMEANS = pseudo_subclass.build_method(
    name="kmeans",
    reference=f"{_PAPER}, section 4, 2024",
    projector=kmeans.PROJECTOR,
    pinned={"beta": _HARD_BY_DEFAULT},
)

AGGLOMERATIVE = pseudo_subclass.build_method(
    name="agglomerative",
    reference=f"{_PAPER}, section 4, 2024",
    projector=sampled.AGGLOMERATIVE,
    pinned={"beta": _HARD_BY_DEFAULT},
)

TSNE_KMEANS = pseudo_subclass.build_method(
    name="tsne_kmeans",
    reference=f"{_PAPER}, section 4, 2024",
    projector=sampled.TSNE_KMEANS,
    pinned={"beta": _HARD_BY_DEFAULT},
)

# Upper control: what perfect knowledge of the true fine labels would give.
ORACLE = pseudo_subclass.build_method(
    name="oracle",
    reference=f"{_PAPER}, section 4",
    projector=oracle.PROJECTOR,
    pinned={"beta": pseudo_subclass.HARD_SPLIT},
)

# Lower control: what the wide head alone does.
RANDOM_SPLIT = pseudo_subclass.build_method(
    name="random_split",
    reference="control of this project",
    projector=random_split.PROJECTOR,
    pinned={"beta": pseudo_subclass.HARD_SPLIT},
)
