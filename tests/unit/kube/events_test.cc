#include "lib/kube/events.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/kube/memory_client.h"

namespace patella::kube {
namespace {

using nlohmann::json;

class EventsTest : public testing::Test {
 protected:
  EventsTest()
      : recorder_(std::make_unique<EventRecorder>(&client_, EventRecorderOptions{.controller = "patella.dev/test"},
                                                  clock_)) {}
  static Event About(const std::string& note, const std::string& name = "a") {
    return {.regarding = {"v1", "ConfigMap", "n", name, "uid-" + name, "1"}, .reason = "Tuned", .note = note};
  }
  std::vector<json> Written() {
    recorder_->Stop(std::chrono::seconds(10));
    std::vector<json> events;
    const auto page = client_.List(kEvents, {});
    for (const ObjectPtr& object : page->items) events.push_back(json::parse(object->json()));
    return events;
  }
  MemoryClient client_;
  ManualClock clock_;
  std::unique_ptr<EventRecorder> recorder_;
};

TEST_F(EventsTest, TheSameAgainIsASeriesOfOneEvent) {
  for (int i = 0; i < 5; ++i) recorder_->Record(About("limit 8"));
  recorder_->Record(About("limit 9"));
  const auto events = Written();
  ASSERT_EQ(events.size(), 2u);
  const json& series = events[0].contains("series") ? events[0] : events[1];
  EXPECT_EQ(series["series"]["count"], 5);
  EXPECT_EQ(series["note"], "limit 8");
  EXPECT_EQ(series["action"], "Tuned");
  EXPECT_EQ(series["regarding"]["uid"], "uid-a");
}

TEST_F(EventsTest, AnObjectThatWillNotStopIsHeldBackAndOthersAreNot) {
  for (int i = 0; i < 100; ++i) recorder_->Record(About("note " + std::to_string(i)));
  recorder_->Record(About("quiet one", "b"));
  EXPECT_EQ(Written().size(), 26u);
}

TEST_F(EventsTest, ATroubleThatPassesLosesNothing) {
  std::atomic<int> failures = 1;
  client_.SetHook([&](const MemoryClient::CallInfo& call) {
    return call.verb == "create" && failures-- > 0 ? absl::UnavailableError("away") : absl::OkStatus();
  });
  recorder_->Record(About("x"));
  for (int i = 0; i < 500 && client_.List(kEvents, {})->items.empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  client_.SetHook(nullptr);
  EXPECT_EQ(Written().size(), 1u);
}

TEST_F(EventsTest, LongNotesAreCutAtACharacter) {
  std::string note;
  for (int i = 0; i < 600; ++i) note += "ä";
  recorder_->Record(About(note));
  const auto events = Written();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_LE(events[0]["note"].get<std::string>().size(), 1024u);
  EXPECT_TRUE(events[0]["note"].get<std::string>().ends_with("ä..."));
}

}  // namespace
}  // namespace patella::kube
