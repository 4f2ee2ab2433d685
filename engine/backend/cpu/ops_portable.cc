// The Ops table in plain C++ for any CPU: the twin that the others are tested against.
#define PATELLA_OPS_NAME "portable"
#define PATELLA_OPS_TABLE kPortableOps
#include "engine/backend/cpu/ops_impl.h"
