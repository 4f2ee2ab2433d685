// The custom resource ServingCurve: one measured latency-throughput curve, to be kept so that the next replica need not measure it
// again: nothing writes or reads one yet. Made by `make generate` from v1alpha1/servingcurves.yaml, which says what every field means.
#pragma once

#include "lib/api/generated/serving_curve.h"  // IWYU pragma: export
