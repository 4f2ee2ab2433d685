// The Ops table in AVX-512 with VNNI.
#define PATELLA_OPS_NAME "avx512"
#define PATELLA_OPS_TABLE kAvx512Ops
#include "engine/backend/cpu/ops_impl.h"
