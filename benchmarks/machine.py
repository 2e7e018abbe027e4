"""What a figure depends on: the processor and the versions."""

from __future__ import annotations

import platform
from pathlib import Path

import numba
import numpy as np
from llvmlite import binding

import fastnet

#: The vector extensions that decide which kernels and which BLAS run, as LLVM names them.
_SIMD = ("avx512f", "avx2", "fma", "neon", "sve")


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def blas() -> str:
    found = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown BLAS')} {found.get('version', '')}".strip()


def describe() -> dict[str, str]:
    """Return name -> value, all of it text."""
    features = binding.get_host_cpu_features()
    return {
        "CPU": cpu_model(),
        "microarchitecture": binding.get_host_cpu_name(),
        "SIMD": " ".join(name for name in _SIMD if features.get(name)) or "none",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "BLAS": blas(),
        "Numba": numba.__version__,
        "fastnet": fastnet.__version__,
    }
