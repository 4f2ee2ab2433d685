// Which tables this CPU can run.
#include <array>

#include "engine/backend/cpu/ops.h"

namespace patella::engine::cpu {

extern const Ops kPortableOps;
#if defined(__x86_64__)
extern const Ops kAvx2Ops, kAvx512Ops;
#endif

namespace {

struct Tables {
  std::array<const Ops*, 3> list = {};
  size_t count = 0;
};

Tables Detect() {
  Tables tables;
  tables.list[tables.count++] = &kPortableOps;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (avx2) tables.list[tables.count++] = &kAvx2Ops;
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vnni")) {
    tables.list[tables.count++] = &kAvx512Ops;
  }
#endif
  return tables;
}

}  // namespace

std::span<const Ops* const> SupportedOps() {
  static const Tables tables = Detect();
  return {tables.list.data(), tables.count};
}

}  // namespace patella::engine::cpu
