"""The LLVM IR and the assembly of every kernel: ``python -m tests.machine_code FOLDER`` writes them there.

Beside them, in hashes.json, it writes the hashes of golden.py that this very code gives. With ``--neon``,
the code is for an AArch64 CPU with NEON, on whatever machine, and is not run: vectors and tiles are chosen
for that CPU, and what Numba emits for them is optimised and compiled for it by LLVM alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DTYPES = ("float32", "float64")
NEON = "aarch64-unknown-linux-gnu"


class Code(NamedTuple):
    """One kernel for one element type."""

    name: str
    dtype: str
    ir: str
    assembly: str


def compiled() -> Iterator[tuple[str, str, Any]]:
    """Name, element type and Numba's library of every function that fastnet compiles."""
    import numpy as np

    from fastnet.kernels import crew
    from fastnet.kernels.entries import entries

    for dtype in DTYPES:
        there = entries(np.dtype(dtype))
        there.prepare()
        [functions] = there.functions.values()
        for function in (*functions, *crew.functions()):  # the latter are of no dtype
            [overload] = function.overloads.values()
            yield function.__name__, dtype, overload.library
        for function in (*there.kernels.values(), *there.ranges):
            yield function.__name__, dtype, function._library


def for_neon(ir: str) -> tuple[str, str]:
    """IR that Numba left as it was, optimised for AArch64; and its assembly."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(NEON).create_target_machine(cpu="generic", features="+neon", opt=3)
    ir = re.sub(r'^target (triple|datalayout) = ".*"$', "", ir, flags=re.MULTILINE)
    ir = re.sub(r'"target-(cpu|features)"="[^"]*"', "", ir)
    module = binding.parse_assembly(ir)
    module.triple, module.data_layout = NEON, str(target.target_data)
    module.verify()
    passes = binding.create_pass_builder(target, binding.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    return str(module), target.emit_assembly(module)


def write(folder: Path, neon: bool) -> None:
    for name, dtype, library in compiled():
        ir, assembly = library.get_llvm_str(), library.get_asm_str()
        if neon:
            ir, assembly = for_neon(ir)
        (folder / f"{name}-{dtype}.ll").write_text(ir)
        (folder / f"{name}-{dtype}.s").write_text(assembly)


def compiled_anew(folder: Path, *options: str, **settings: str) -> list[Code]:
    """What a process writes that compiles everything itself, with these settings of Numba."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {**settings, "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.machine_code", str(folder), *options],
        env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [
        Code(*path.stem.split("-"), path.read_text(), path.with_suffix(".s").read_text())
        for path in sorted(folder.glob("*.ll"))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.machine_code", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--neon", action="store_true", help="for AArch64")
    options = parser.parse_args()
    if options.neon:
        platform.machine = lambda: "aarch64"  # before the kernels ask
    write(options.folder, options.neon)
    if not options.neon:
        from tests import golden

        (options.folder / "hashes.json").write_text(json.dumps(golden.hashes()))


if __name__ == "__main__":
    main()
