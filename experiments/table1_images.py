"""Table 1 of the LELP paper (arXiv 2409.20449) in one launch, with a report per setting.

    python -m lelp_jax.main --config=experiments/table1_images.py

On CIFAR-10 and CIFAR-100, odd or even class, a ResNet-92 teaches ResNets-56 and MobileNets, and a
MobileNet of twice the width teaches MobileNets. The report of each setting has the published values
beside ours, as far as they are public: the paper's reviews quote some of them. The grid needs
accelerators and days, and we have not run it. Learning rates, lengths of training and the number of
subclasses are ours, as the paper's are not public.

For a single setting remove the others from --config.sweep.cases.
"""

from ml_collections import ConfigDict

from configs import cifar10_bin, cifar100_bin

_MOBILENET = {"name": "mobilenet", "downsampling": 8, "normalization": "batch"}
# Test accuracy in percent.
_PUBLISHED = {
    "cifar10_resnet_mobilenet": {"lelp": 93.99, "oracle": 93.23},
    "cifar100_resnet_resnet": {
        "kd": 72.87,
        "agglomerative": 76.84,
        "kmeans": 77.03,
        "tsne_kmeans": 77.59,
        "lelp": 79.91,
        "oracle": 86.42,
    },
    "cifar100_resnet_mobilenet": {"kd": 71.45, "kmeans": 68.97, "lelp": 74.99},
    "cifar100_mobilenet_mobilenet": {"kd": 72.16, "lelp": 75.21},
}
_TEACHERS = {"cifar100_resnet_resnet": 78.69}


def get_config() -> ConfigDict:
    settings = {}
    for data, module in (("cifar10", cifar10_bin), ("cifar100", cifar100_bin)):
        for teacher, student in (
            ("resnet", "resnet"),
            ("resnet", "mobilenet"),
            ("mobilenet", "mobilenet"),
        ):
            name, setting = f"{data}_{teacher}_{student}", module.get_config()
            mobilenet = {**_MOBILENET, "compute_dtype": "bfloat16"}
            if teacher == "mobilenet":
                setting.teacher.model = ConfigDict({**mobilenet, "width": 2.0})
            if student == "mobilenet":
                setting.student.model = ConfigDict({**mobilenet, "width": 1.0})
            setting.report.published = ConfigDict(
                {
                    "source": "arXiv 2409.20449, Table 1",
                    "teacher": _TEACHERS.get(name, 0.0),
                    "methods": _PUBLISHED.get(name, {}),
                }
            )
            settings[name] = setting
    config = ConfigDict({**settings["cifar10_resnet_resnet"]})
    config.sweep = ConfigDict(
        {
            "key": "setting",
            "cases": {
                name: {key: setting[key] for key in ("data", "teacher", "student", "report")}
                for name, setting in settings.items()
            },
        }
    )
    return config
