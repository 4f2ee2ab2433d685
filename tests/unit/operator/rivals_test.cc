#include "operator/apply/rivals.h"

#include <gtest/gtest.h>

#include "lib/base/text.h"
#include "lib/kube/memory_client.h"

namespace patella::apply {
namespace {

const kube::ObjectKey kObject = {"demo", "smollm2"};
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
  // A Deployment for each name.
  static Rivals::Marks Marks(const std::set<std::string>& names) {
    Rivals::Marks marks;
    for (const std::string& name : names) marks[StrCat("uid-", marks.size())] = name;
    return marks;
  }
  bool HandsOff(const std::set<std::string>& names) {
    const absl::StatusOr<Rivals::Verdict> verdict = rivals_.Judge(kObject, Marks(names));
    EXPECT_TRUE(verdict.ok()) << verdict.status();
    if (verdict.ok()) verdict_ = *verdict;
    return verdict_.hands_off;
  }
  // Our name where one stood that the last verdict gave us.
  void Replace() {
    ASSERT_TRUE(verdict_.replace.contains(kTheirs));
    rivals_.Replaced(kObject, "uid-0", kTheirs, verdict_.hands_off);
  }
  void Pass(int seconds) { clock_.Advance(std::chrono::seconds(seconds)); }

  kube::MemoryClient store_;
  ManualClock clock_;
  Rivals rivals_{&store_, clock_, kOurs};
  Rivals::Verdict verdict_;
};

TEST_F(RivalsTest, WhatIsOursOrNobodysIsTaken) {
  EXPECT_FALSE(HandsOff({}));
  EXPECT_FALSE(HandsOff({kOurs}));
  EXPECT_FALSE(HandsOff({"anything else"}));
}

TEST_F(RivalsTest, AnOperatorThatRenewsItsLeaseKeepsWhatIsIts) {
  Renew(1);
  EXPECT_TRUE(HandsOff({kTheirs})) << "it may live";
  EXPECT_EQ(verdict_.who, "");
  Pass(5);
  Renew(3);
  EXPECT_TRUE(HandsOff({kTheirs}));
  EXPECT_EQ(verdict_.who, kTheirs);
}

TEST_F(RivalsTest, WhereBothHaveWrittenTheFirstByNameGoesOn) {
  Renew(1);
  EXPECT_FALSE(HandsOff({kOurs, kTheirs})) << "not known to live";
  Pass(5);
  Renew(3);
  EXPECT_TRUE(HandsOff({kOurs, kTheirs})) << "other/ is before patella-system/";
  Rivals first(&store_, clock_, "a/patella-operator");
  EXPECT_FALSE(first.Judge(kObject, Marks({"a/patella-operator", kTheirs}))->hands_off);
  Pass(5);
  Renew(7);
  const Rivals::Verdict verdict = *first.Judge(kObject, Marks({"a/patella-operator", kTheirs}));
  EXPECT_FALSE(verdict.hands_off);
  EXPECT_EQ(verdict.who, kTheirs) << "but it is told";
}

TEST_F(RivalsTest, WhatAnOperatorLeftThatIsGoneIsTakenOver) {
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
  EXPECT_FALSE(Rivals(&store_, clock_, "").Judge(kObject, Marks({kTheirs}))->hands_off);
}

// From here on their Lease cannot be read: another namespace's, or none.

TEST_F(RivalsTest, WhereNoLeaseTellsTheOtherIsAskedAndOneThatKeepsSilentIsGone) {
  EXPECT_TRUE(HandsOff({kTheirs}));
  Replace();
  EXPECT_TRUE(HandsOff({kOurs})) << "it may answer yet";
  EXPECT_TRUE(verdict_.replace.empty()) << "asked once";
  Pass(29);
  EXPECT_TRUE(HandsOff({kOurs}));
  Pass(1);
  EXPECT_FALSE(HandsOff({kOurs}));
  Pass(3600);
  EXPECT_FALSE(HandsOff({kOurs}));
}

TEST_F(RivalsTest, OneThatTakesOurNameAwayLivesAndTheFirstByNameGoesOn) {
  EXPECT_TRUE(HandsOff({kTheirs}));
  Replace();
  EXPECT_TRUE(HandsOff({kTheirs})) << "it answered, and other/ is before patella-system/";
  EXPECT_EQ(verdict_.who, kTheirs);
  EXPECT_TRUE(verdict_.replace.empty());
  Pass(119);
  EXPECT_TRUE(HandsOff({kTheirs}));
  EXPECT_TRUE(verdict_.replace.empty());
  Pass(1);
  EXPECT_TRUE(HandsOff({kTheirs}));
  Replace();
  Pass(30);
  EXPECT_FALSE(HandsOff({kOurs})) << "asked again, it kept silent";
}

TEST_F(RivalsTest, TheFirstByNamePutsItsNameBackAtOnce) {
  Rivals first(&store_, clock_, "a/patella-operator");
  EXPECT_FALSE(first.Judge(kObject, Marks({"a/patella-operator"}))->hands_off);
  const Rivals::Verdict verdict = *first.Judge(kObject, Marks({kTheirs}));
  EXPECT_FALSE(verdict.hands_off);
  EXPECT_EQ(verdict.who, kTheirs);
  EXPECT_EQ(verdict.replace, std::set<std::string>{kTheirs});
  first.Replaced(kObject, "uid-0", kTheirs, verdict.hands_off);
  EXPECT_FALSE(first.Judge(kObject, Marks({"a/patella-operator"}))->hands_off);
  Pass(299);
  EXPECT_EQ(first.Judge(kObject, Marks({"a/patella-operator"}))->who, kTheirs);
  Pass(1);
  EXPECT_EQ(first.Judge(kObject, Marks({"a/patella-operator"}))->who, "") << "it does not ask any more";
}

TEST_F(RivalsTest, WhatNeverTookOurNameAwayWhereBothStandIsNobodys) {
  EXPECT_FALSE(HandsOff({kOurs, kTheirs}));
  EXPECT_EQ(verdict_.replace, std::set<std::string>{kTheirs}) << "who works on an object marks all of it";
}

}  // namespace
}  // namespace patella::apply
