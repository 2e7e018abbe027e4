"""Settings of processes that compile for another CPU than the one at hand."""

from fastnet.kernels import target

#: AVX2 and FMA, no AVX-512; the name of the CPU alone would keep the features of the one at hand
_AVX2 = "+64bit,+cx16,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2"
HASWELL = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": _AVX2}
#: as if it were of another make, with the instructions that it has
ANOTHER_MAKE = {} if target.is_arm() else {"NUMBA_CPU_NAME": "cascadelake" if target.zen() else "znver4"}
