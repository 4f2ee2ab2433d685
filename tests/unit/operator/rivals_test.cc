#include "operator/apply/rivals.h"

#include <gtest/gtest.h>

#include "lib/base/text.h"
#include "lib/kube/memory_client.h"

namespace patella::apply {
namespace {

constexpr char kOurs[] = "patella-system/patella-operator", kTheirs[] = "other/patella-operator";

class RivalsTest : public testing::Test {
 protected:
  // Their Lease as it stands after a renewal at that second; "" as holder: given up.
  void Renew(int second, const std::string& holder = "pod_1") {
    const std::string spec =
        StrCat(R"({"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"patella-operator",)",
               R"("namespace":"other"},"spec":{"holderIdentity":")", holder, R"(","leaseDurationSeconds":15,)",
               R"("renewTime":"2026-01-02T03:04:)", second < 10 ? "0" : "", second, R"(.000000Z"}})");
    store_.Delete(kube::kLeases, "other", "patella-operator").IgnoreError();
    ASSERT_TRUE(store_.Create(kube::kLeases, "other", spec).ok());
  }
  bool HandsOff(const std::set<std::string>& names) {
    const absl::StatusOr<Rivals::Verdict> verdict = rivals_.Judge(names);
    EXPECT_TRUE(verdict.ok()) << verdict.status();
    who_ = verdict.ok() ? verdict->who : "";
    return verdict.ok() && verdict->hands_off;
  }
  void Pass(int seconds) { clock_.Advance(std::chrono::seconds(seconds)); }

  kube::MemoryClient store_;
  ManualClock clock_;
  Rivals rivals_{&store_, clock_, kOurs};
  std::string who_;
};

TEST_F(RivalsTest, WhatIsOursOrNobodysIsTaken) {
  EXPECT_FALSE(HandsOff({}));
  EXPECT_FALSE(HandsOff({kOurs}));
  EXPECT_FALSE(HandsOff({"anything else"}));
}

TEST_F(RivalsTest, AnOperatorThatRenewsItsLeaseKeepsWhatIsIts) {
  Renew(1);
  EXPECT_TRUE(HandsOff({kTheirs})) << "it may live";
  EXPECT_EQ(who_, "");
  Pass(5);
  Renew(3);
  EXPECT_TRUE(HandsOff({kTheirs}));
  EXPECT_EQ(who_, kTheirs);
}

TEST_F(RivalsTest, WhereBothHaveWrittenTheFirstByNameGoesOn) {
  Renew(1);
  EXPECT_FALSE(HandsOff({kOurs, kTheirs})) << "not known to live";
  Pass(5);
  Renew(3);
  EXPECT_TRUE(HandsOff({kOurs, kTheirs})) << "other/ is before patella-system/";
  Rivals first(&store_, clock_, "a/patella-operator");
  EXPECT_FALSE(first.Judge({"a/patella-operator", kTheirs})->hands_off);
  Pass(5);
  Renew(7);
  const Rivals::Verdict verdict = *first.Judge({"a/patella-operator", kTheirs});
  EXPECT_FALSE(verdict.hands_off);
  EXPECT_EQ(verdict.who, kTheirs) << "but it is told";
}

TEST_F(RivalsTest, WhatAnOperatorLeftThatIsGoneIsTakenOver) {
  EXPECT_FALSE(HandsOff({kTheirs})) << "no Lease: uninstalled";
  Renew(1, "");
  EXPECT_FALSE(HandsOff({kTheirs})) << "given up";
  Renew(2);
  EXPECT_TRUE(HandsOff({kTheirs}));
  Pass(14);
  EXPECT_TRUE(HandsOff({kTheirs}));
  Pass(2);
  EXPECT_FALSE(HandsOff({kTheirs})) << "its record stood still for longer than its duration: killed";
}

TEST_F(RivalsTest, WithoutANameOfOnesOwnNobodyIsARival) {
  Renew(1);
  EXPECT_FALSE(Rivals(&store_, clock_, "").Judge({kTheirs})->hands_off);
}

}  // namespace
}  // namespace patella::apply
