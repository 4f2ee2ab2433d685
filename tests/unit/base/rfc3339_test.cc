#include "lib/base/rfc3339.h"

#include <gtest/gtest.h>

#include "lib/base/hash.h"

namespace patella {
namespace {

using std::chrono::system_clock;

TEST(Rfc3339Test, IsWhatKubernetesWrites) {
  const system_clock::time_point time{std::chrono::seconds(1'800'000'000) + std::chrono::microseconds(6)};
  EXPECT_EQ(Rfc3339(time), "2027-01-15T08:00:00Z");
  EXPECT_EQ(Rfc3339Micros(time), "2027-01-15T08:00:00.000006Z");
  EXPECT_EQ(Rfc3339Micros(system_clock::time_point(std::chrono::microseconds(-1))), "1969-12-31T23:59:59.999999Z");
}

TEST(HashTest, IsFnv1a) {
  EXPECT_EQ(Fnv1a(""), 0xcbf29ce484222325u);
  EXPECT_EQ(Fnv1a("foobar"), 0x85944171f73967e8u);  // the authors' test vector
}

}  // namespace
}  // namespace patella
