"""The shipped benchmarks, one file each; this folder is installed as `alignbench.benchmarks`."""

# Under two names, each class would exist twice, and `isinstance` and the keys of cells would tell them apart.
if __name__ != "alignbench.benchmarks":
    raise ImportError(
        f"this folder is the package `alignbench.benchmarks` and cannot be imported as `{__name__}`: "
        "install the project (`pip install -e .`) and import it by that name."
    )
