"""The arrows between modules, and what the package promises as a package."""

import ast
import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import fastnet

ROOT = Path(fastnet.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
NAMED = [getattr(fastnet, name) for name in fastnet.__all__ if not name.startswith("_")]
PUBLIC = [named for named in NAMED if inspect.isclass(named)]
FUNCTIONS = [named for named in NAMED if not inspect.isclass(named)]


def dotted(path):
    parts = ["fastnet", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Full names of everything a file imports, anywhere in it."""
    package = dotted(path) if path.name == "__init__.py" else dotted(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            )
            module = ".".join(filter(None, [base, node.module]))
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def within(name, *packages):
    return any(name == p or name.startswith(p + ".") for p in packages)


def own(path):
    return {name for name in imports(path) if within(name, "fastnet")}


def run(code):
    """What a fresh interpreter prints, with this fastnet in reach."""
    env = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_reader():
    """The reader itself, on a file that imports in several ways."""
    assert "fastnet.reference" not in imports(ROOT / "reference.py")
    assert {"fastnet.layers.Affine", "fastnet.network.Sequential"} <= imports(ROOT / "__init__.py")


def test_reference_imports_numpy_alone():
    names = imports(ROOT / "reference.py")
    assert "numpy" in names
    assert all(within(name, "numpy", "__future__", "typing") for name in names), names


def test_kernels_import_nothing_above_them():
    files = sorted((ROOT / "kernels").rglob("*.py"))
    assert len(files) > 1, "no kernels"
    for path in files:
        above = [name for name in own(path) if not within(name, "fastnet.kernels")]
        assert not above, f"{path.name} imports {above}"


def test_kernels_reach_their_users_through_layers_and_network():
    """network -> layers -> kernels, and somebody does use the kernels."""
    assert not any(within(n, "fastnet.network") for n in own(ROOT / "layers.py"))
    assert any(within(n, "fastnet.layers") for n in own(ROOT / "network.py"))
    for path in ("layers.py", "network.py"):
        assert "fastnet.fused" in own(ROOT / path)
    assert any(within(n, "fastnet.kernels") for n in own(ROOT / "fused.py"))


def test_formats_are_above_the_network():
    """formats -> estimators -> network -> layers: what is below knows nothing of them."""
    below = ("network", "layers", "estimators", "arguments", "_version")
    files = sorted((ROOT / "formats").rglob("*.py"))
    assert len(files) > 5, "no formats"
    for path in files:
        strange = [n for n in own(path) if not within(n, "fastnet.formats", *(f"fastnet.{b}" for b in below))]
        assert not strange, f"{path.name} imports {strange}"
    for name in (*below, "fused", "shortcut", "threads"):
        assert not [n for n in own(ROOT / f"{name}.py") if within(n, "fastnet.formats")], name
    assert own(ROOT / "estimators.py") <= {"fastnet.network.Sequential", "fastnet.arguments.check_out"}


#: libraries that come with an extra, or with what a user passes in
OPTIONAL = {"scipy", "sklearn", "torch", "onnx", "safetensors", "joblib"}
OPTIONAL |= {"dask", "distributed", "tqdm", "matplotlib"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_optional_libraries_are_imported_when_used(path):
    """Inside functions, never at the head of a module."""
    head = [
        node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    for node in head:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        assert not [name for name in names if name.partition(".")[0] in OPTIONAL], f"line {node.lineno}"


@pytest.mark.parametrize(
    ("call", "extra"),
    [
        ("fastnet.from_onnx('net.onnx')", "onnx"),
        ("fastnet.to_onnx(fastnet.TwoLayerNet(1, 1, 1), 'net.onnx')", "onnx"),
        ("fastnet.save(fastnet.TwoLayerNet(1, 1, 1), 'net')", "safetensors"),
        ("fastnet.load('net')", "safetensors"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(call, extra, tmp_path):
    out = run(
        f"import os, sys; os.chdir({str(tmp_path)!r})\n"
        f"sys.modules[{extra!r}] = None\n"
        "import fastnet\n"
        f"try: {call}\n"
        "except ImportError as error: print(error)\n"
        "print(os.listdir())\n"
    )
    assert f'pip install "fastnet[{extra}]"' in out
    assert out.endswith("[]\n")


#: modules with examples that need an optional library
NEEDS = {"fastnet.formats.pytorch": "torch", "fastnet.dask": "dask.array"}


def test_package_imports_no_tests_or_benchmarks():
    for path in MODULES:
        assert not [n for n in imports(path) if within(n, "tests", "benchmarks")], path.name


def test_programs_are_built_on_the_library():
    """The command line, the examples and dask arrays: nothing below them knows of them."""
    programs = ("cli", "demo", "commands", "examples", "dask")
    above = tuple(f"fastnet.{name}" for name in programs)
    for path in MODULES:
        if not within(dotted(path), *above, "fastnet.__main__"):
            assert not [name for name in own(path) if within(name, *above)], path.name
    for name in programs:
        assert (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file(), name


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_module_over_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def fastmath_settings(tree):
    """What ``fastmath`` is set to: as a keyword, as a key, by subscript."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "fastmath":
            yield node.value
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if getattr(key, "value", None) == "fastmath":
                    yield value
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if getattr(getattr(target, "slice", None), "value", None) == "fastmath":
                    yield node.value


def test_fastmath_reader():
    text = "f(fastmath=True); g = {'fastmath': {'nnan'}}; g['fastmath'] = 1; f(fastmath=False)"
    assert {ast.unparse(v) for v in fastmath_settings(ast.parse(text))} == {"{'nnan'}", "1", "True", "False"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_fastmath(path):
    """Contraction is written as fma where it is meant: no compiler may reorder a sum."""
    for value in fastmath_settings(ast.parse(path.read_text())):
        assert getattr(value, "value", None) is False, f"line {value.lineno}: {ast.unparse(value)}"


def test_import_is_light_and_the_first_call_is_not():
    """Importing fastnet, and building a network, loads neither Numba nor the compiler."""
    out = run(
        "import sys, numpy as np, fastnet\n"
        "net = fastnet.TwoLayerNet(2, 4, 3)\n"
        f"print(sorted({OPTIONAL | {'numba', 'llvmlite'}} & set(sys.modules)))\n"
        "net.predict(np.ones((10, 2)))\n"
        "print('numba' in sys.modules)\n"
    )
    assert out.split("\n")[:2] == ["[]", "True"]


def test_formats_and_training_are_imported_by_who_asks():
    """They are two fifths of what an import takes; and are found like everything else."""
    later = (
        "fastnet.formats",
        "fastnet.training",
        "fastnet.epochs",
        "fastnet.optimizers",
        "fastnet.compiled",
    )
    out = run(
        "import sys, fastnet\n"
        f"print([name for name in sys.modules if name.startswith({later})])\n"
        "print(set(fastnet.__all__) - set(dir(fastnet)))\n"
        "from fastnet import *\n"
        "print(from_onnx.__module__, load is fastnet.load, fit.__module__, SGD is fastnet.SGD)\n"
    )
    assert out.split("\n")[:3] == ["[]", "set()", "fastnet.formats.onnx_read True fastnet.training True"]
    with pytest.raises(AttributeError, match="module 'fastnet' has no attribute 'from_nowhere'"):
        fastnet.from_nowhere  # noqa: B018


def test_typed():
    assert (ROOT / "py.typed").is_file()


def test_all_names_what_there_is():
    assert {"Affine", "AffineSigmoid", "Sequential", "Sigmoid", "TwoLayerNet"} <= set(fastnet.__all__)
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.\w+)?", fastnet.__version__)


def sections(obj):
    """Headings of a numpydoc docstring: lines underlined by as many dashes."""
    lines = (inspect.getdoc(obj) or "").splitlines()
    return [a for a, b in pairwise(lines) if a.strip() and b == "-" * len(a)]


def parameters(obj):
    return [p for p in inspect.signature(obj).parameters if p != "self"]


def described(obj, name):
    """``name : type`` at the start of a line, alone or among others."""
    return re.search(rf"^(\w+, )*{name}(, \w+)* : ", inspect.getdoc(obj) or "", re.MULTILINE)


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_docstring_of_class(cls):
    assert "__doc__" in vars(cls), "no docstring of its own"
    assert "Examples" in sections(cls)
    assert {"Parameters", "Attributes"} & set(sections(cls))
    for name in parameters(cls):
        assert described(cls, name), f"{name} is not described"


def calls(cls):
    """What a class is there for, and the parameters of each method of that."""
    if hasattr(cls, "update"):
        return {cls.update: ["params", "grads"]}
    if "Loss" in cls.__name__ or "Error" in cls.__name__:
        return {cls.forward: ["x", "t"], cls.backward: ["dout"]}
    if hasattr(cls, "predict"):
        return {cls.predict: ["x", "out"], cls.forward: ["x", "t", "out"], cls.backward: ["dout"]}
    return {cls.forward: ["x", "out"], cls.backward: ["dout"]}


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_docstring_of_call(cls):
    """Shapes, dtypes and errors are told where they are met."""
    for method, names in calls(cls).items():
        assert {"Parameters", "Raises"} <= set(sections(method))
        assert ("Returns" in sections(method)) == (method.__annotations__["return"] != "None")
        assert parameters(method) == names
        for name in names:
            assert described(method, name), f"{name} is not described"
        errors = set(re.findall(r"\w+Error", inspect.getdoc(method)))
        assert errors & {"ValueError", "RuntimeError"}
        assert "TypeError" in errors or method.__name__ == "backward"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_function(function):
    for name in parameters(function):
        assert described(function, name), f"{name} is not described"
    assert {"Returns", "Raises"} & set(sections(function))
    assert {*parameters(function), "return"} <= set(function.__annotations__)


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_annotated(cls):
    for method, names in calls(cls).items():
        assert {*names, "return"} <= set(method.__annotations__)
    assert set(parameters(cls)) <= set(cls.__init__.__annotations__)


def importable():
    found = pkgutil.walk_packages([str(ROOT)], "fastnet.")
    return ["fastnet", *(m.name for m in found if not m.name.endswith("__main__"))]


@pytest.mark.parametrize("name", importable())
def test_doctests(name):
    pytest.importorskip(NEEDS.get(name, "fastnet"))
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_every_public_class_has_an_example_that_runs(cls):
    finder = doctest.DocTestFinder(recurse=False)
    assert sum(len(t.examples) for t in finder.find(cls, globs={})) > 0
