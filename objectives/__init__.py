"""The shipped objectives, one file each; this folder is installed as `alignbench.objectives`."""

USUAL = "dpo"  # what is meant where somebody asks for any objective: the speed of training, say

# Under two names, each class would exist twice, and `isinstance` and the keys of cells would tell them apart.
if __name__ != "alignbench.objectives":
    raise ImportError(
        f"this folder is the package `alignbench.objectives` and cannot be imported as `{__name__}`: "
        "install the project (`pip install -e .`) and import it by that name."
    )
