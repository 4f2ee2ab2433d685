// Bookmarks over the wire: a watch that broke off after one goes on from its version. The server of this process keeps a log of versions, tells
// what is after the version that a watch begins at, and knows nothing older than the last bookmark: who comes with less is told 410.
#include <gtest/gtest.h>

#include <mutex>

#include "lib/kube/cache.h"
#include "lib/kube/reflector.h"
#include "lib/kube/rest_client.h"
#include "tests/unit/kube/local_server.h"
#include "tests/unit/kube/until.h"

namespace patella::kube {
namespace {

using std::chrono::milliseconds;
using Strings = std::vector<std::string>;

constexpr auto kPatience = std::chrono::seconds(20);

std::string MapAt(const std::string& name, int version) {
  return R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":")" + name + R"(","namespace":"n","uid":"u-)" +
         name + R"(","resourceVersion":")" + std::to_string(version) + R"("}})";
}

std::string Event(const std::string& type, const std::string& object) {
  return R"({"type":")" + type + R"(","object":)" + object + "}\n";
}

std::string BookmarkAt(int version, const std::string& annotations = "") {
  return Event("BOOKMARK", R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":")" +
                               std::to_string(version) + "\"" + annotations + "}}");
}

constexpr char kInitialEventsEnd[] = R"(,"annotations":{"k8s.io/initial-events-end":"true"})";
constexpr char kTooOld[] = R"({"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410})";

std::string Parameter(const std::string& target, const std::string& name) {
  const size_t at = target.find(name + "=");
  if (at == std::string::npos) return "";
  const size_t from = at + name.size() + 1;
  return target.substr(from, target.find('&', from) - from);
}

// ConfigMap "a" at version 3, the server itself at version 5; then whatever the test adds.
class WatchedServer {
 public:
  WatchedServer()
      : server_([this](const LocalServer::Asked& asked, size_t, std::shared_ptr<http::Exchange> exchange) {
          Serve(asked.target, std::move(exchange));
        }) {}

  ClusterAccess access() const { return server_.access(); }

  void Add(int version, const std::string& line) {
    const std::lock_guard lock(mutex_);
    log_.push_back({version, line});
    version_ = version;
    if (watch_ != nullptr) watch_->Write(line);
  }
  // What came before is forgotten, as etcd does every five minutes.
  void AddBookmark(int version) {
    const std::lock_guard lock(mutex_);
    version_ = forgotten_ = version;
    if (watch_ != nullptr) watch_->Write(BookmarkAt(version));
  }
  enum class End { kCut, kInGoodOrder, kTooOld };
  void EndWatch(End end) {
    const std::lock_guard lock(mutex_);
    const auto watch = std::exchange(watch_, nullptr);
    if (watch == nullptr) return;
    if (end == End::kTooOld) watch->Write(Event("ERROR", kTooOld));
    end == End::kCut ? watch->Abort() : watch->Finish();
  }

  // In order: "list" or "watch-list" or "watch", and the version it asked for.
  Strings Asked() const {
    Strings all;
    for (const LocalServer::Asked& asked : server_.asked()) {
      const bool initial = Parameter(asked.target, "sendInitialEvents") == "true";
      const std::string what = Parameter(asked.target, "watch").empty() ? "list" : initial ? "watch-list" : "watch";
      const std::string from = Parameter(asked.target, "resourceVersion");
      all.push_back(from.empty() ? what : what + " from " + from);
    }
    return all;
  }
  bool Watched() const {
    const std::lock_guard lock(mutex_);
    return watch_ != nullptr;
  }

 private:
  void Serve(const std::string& target, std::shared_ptr<http::Exchange> exchange) {
    const std::lock_guard lock(mutex_);
    const std::string version = std::to_string(version_);
    if (Parameter(target, "watch").empty()) {
      return exchange->Send({.status = 200,
                             .headers = {{"Content-Type", "application/json"}},
                             .body = R"({"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":")" +
                                     version + R"("},"items":[)" + MapAt("a", 3) + "]}"});
    }
    exchange->StartStream(200, {{"Content-Type", "application/json"}});
    int from = std::atoi(Parameter(target, "resourceVersion").c_str());
    if (Parameter(target, "sendInitialEvents") == "true") {
      exchange->Write(Event("ADDED", MapAt("a", 3)) + BookmarkAt(version_, kInitialEventsEnd));
      from = version_;
    }
    if (from < forgotten_) {
      exchange->Write(Event("ERROR", kTooOld));
      return exchange->Finish();
    }
    for (const auto& [at, line] : log_) {
      if (at > from) exchange->Write(line);
    }
    watch_ = std::move(exchange);
  }

  mutable std::mutex mutex_;
  std::vector<std::pair<int, std::string>> log_;
  int version_ = 5, forgotten_ = 0;
  std::shared_ptr<http::Exchange> watch_;
  LocalServer server_;  // last: its thread uses the rest
};

class WatchBookmarkTest : public testing::Test {
 protected:
  void Start(bool watch_list) {
    credentials_ = *Credentials::Load(server_.access(), clock_);
    transport_ = *MakeTransport(credentials_);
    client_ = std::make_unique<RestClient>(transport_.get(), credentials_, clock_);
    cache_.AddHandler([this](const Change& change) {
      const std::lock_guard lock(mutex_);
      told_.push_back(std::string(change.object().name()) + "@" + std::string(change.object().resource_version()) +
                      (change.after == nullptr ? " gone" : ""));
    });
    ReflectorOptions options{.namespace_name = "n", .watch_list = watch_list, .seed = 1};
    options.backoff = {.initial = milliseconds(1), .cap = milliseconds(1)};
    reflector_ = std::make_unique<Reflector>(client_.get(), &cache_, options, clock_);
    reflector_->Start();
    ASSERT_TRUE(Until([&] { return server_.Watched(); }, kPatience));
  }
  ~WatchBookmarkTest() override {
    if (reflector_ != nullptr) reflector_->Stop();
    server_.EndWatch(WatchedServer::End::kCut);
  }

  // Until the reflector has read so many bookmarks and events of watches.
  ::testing::AssertionResult Read(uint64_t bookmarks, uint64_t events) {
    const auto done = [&] {
      const ReflectorStats stats = reflector_->Stats();
      return stats.bookmarks == bookmarks && stats.events == events;
    };
    if (Until(done, kPatience)) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << reflector_->Stats().bookmarks << " bookmarks, "
                                         << reflector_->Stats().events << " events";
  }
  void EndWatch(WatchedServer::End end) {
    server_.EndWatch(end);
    ASSERT_TRUE(Until([&] { return server_.Watched(); }, kPatience)) << "nobody watches any more";
  }
  Strings Told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }

  const SteadyClock clock_;
  WatchedServer server_;
  std::shared_ptr<Credentials> credentials_;
  std::unique_ptr<HttpTransport> transport_;
  std::unique_ptr<RestClient> client_;
  Cache cache_{kConfigMaps};
  std::unique_ptr<Reflector> reflector_;
  std::mutex mutex_;
  Strings told_;
};

class WatchThatEndsTest : public WatchBookmarkTest, public testing::WithParamInterface<WatchedServer::End> {};

TEST_P(WatchThatEndsTest, AfterABookmarkGoesOnFromItsVersionAndTellsEachChangeOnce) {
  Start(/*watch_list=*/false);
  server_.Add(7, Event("ADDED", MapAt("b", 7)));
  server_.AddBookmark(40);  // 8 to 40 were changes of something else
  ASSERT_TRUE(Read(1, 1));
  EndWatch(GetParam());
  server_.Add(41, Event("MODIFIED", MapAt("b", 41)));
  ASSERT_TRUE(Read(1, 2));
  EndWatch(GetParam());  // the event is newer than the bookmark
  server_.AddBookmark(60);
  ASSERT_TRUE(Read(2, 2));
  server_.AddBookmark(80);
  ASSERT_TRUE(Read(3, 2));
  EndWatch(GetParam());  // nothing but bookmarks
  server_.Add(81, Event("DELETED", MapAt("a", 81)));
  ASSERT_TRUE(Read(3, 3));
  EXPECT_EQ(server_.Asked(),
            (Strings{"list from 0", "watch from 5", "watch from 40", "watch from 41", "watch from 80"}));
  EXPECT_EQ(Told(), (Strings{"a@3", "b@7", "b@41", "a@81 gone"}));
}

// What happens while nobody watches is after the bookmark, and comes first.
TEST_P(WatchThatEndsTest, AfterABookmarkMissesNothingThatHappenedMeanwhile) {
  Start(/*watch_list=*/false);
  server_.AddBookmark(40);
  ASSERT_TRUE(Read(1, 0));
  server_.EndWatch(GetParam());
  server_.Add(41, Event("ADDED", MapAt("b", 41)));
  server_.Add(42, Event("MODIFIED", MapAt("a", 42)));
  ASSERT_TRUE(Read(1, 2));
  EXPECT_EQ(Told(), (Strings{"a@3", "b@41", "a@42"}));
  const ReflectorStats stats = reflector_->Stats();
  EXPECT_EQ(stats.lists, 1u);
}

TEST_P(WatchThatEndsTest, AfterTheInitialEventsGoesOnFromTheBookmarkThatEndedThem) {
  Start(/*watch_list=*/true);
  ASSERT_TRUE(Until([&] { return reflector_->HasSynced(); }, kPatience));
  EndWatch(GetParam());
  server_.AddBookmark(40);
  ASSERT_TRUE(Read(1, 0));
  EndWatch(GetParam());
  server_.Add(41, Event("ADDED", MapAt("b", 41)));
  ASSERT_TRUE(Read(1, 1));
  EXPECT_EQ(server_.Asked(), (Strings{"watch-list", "watch from 5", "watch from 40"}));
  EXPECT_EQ(Told(), (Strings{"a@3", "b@41"}));
}

INSTANTIATE_TEST_SUITE_P(Ends, WatchThatEndsTest,
                         testing::Values(WatchedServer::End::kCut, WatchedServer::End::kInGoodOrder),
                         [](const auto& info) { return info.index == 0 ? "Cut" : "InGoodOrder"; });

// It is the version that a list may not be older than.
TEST_F(WatchBookmarkTest, After410TheListIsNotOlderThanTheBookmark) {
  Start(/*watch_list=*/false);
  server_.AddBookmark(40);
  ASSERT_TRUE(Read(1, 0));
  EndWatch(WatchedServer::End::kTooOld);
  EXPECT_EQ(server_.Asked(), (Strings{"list from 0", "watch from 5", "list from 40", "watch from 40"}));
  EXPECT_EQ(Told(), Strings{"a@3"}) << "what the new list says alike is no change";
}

}  // namespace
}  // namespace patella::kube
