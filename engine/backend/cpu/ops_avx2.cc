// The Ops table in AVX2 with FMA and F16C.
#define PATELLA_OPS_NAME "avx2"
#define PATELLA_OPS_TABLE kAvx2Ops
#include "engine/backend/cpu/ops_impl.h"
