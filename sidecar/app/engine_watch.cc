#include "sidecar/app/engine_watch.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace patella::sidecar {
namespace {
constexpr auto kPollBeforeReady = std::chrono::milliseconds(250);
constexpr auto kPollAfterReady = std::chrono::milliseconds(500);  // shorter than an engine takes to be replaced
constexpr size_t kMaxBody = 4 << 20;
constexpr int kFailuresUntilUnhealthy = 2;  // a busy engine may miss one
}  // namespace

struct EngineWatch::State : std::enable_shared_from_this<EngineWatch::State> {
  State(http::Loop& l, adapters::EngineTarget t, Duration timeout, EngineWatchEvents e)
      : loop(l), give_up(l.Now() + timeout), events(std::move(e)) {
    discovery.target = std::move(t);
    http::ClientOptions options;
    options.host = discovery.target.host;
    options.port = discovery.target.port;
    options.max_idle_connections = 1;
    options.connect_timeout = std::chrono::seconds(2);
    options.first_byte_timeout = std::chrono::seconds(5);
    options.read_timeout = std::chrono::seconds(5);
    client = http::Client::Create(loop, options);
  }

  // status 0: no answer.
  void Get(std::string_view path, std::function<void(int status, const std::string& body)> then) {
    http::Request request;
    request.target = absl::StrCat(discovery.target.path_prefix, std::string(path));
    if (!discovery.target.authorization.empty()) request.headers.Set("Authorization", discovery.target.authorization);
    struct Answer {
      int status = 0;
      std::string body;
    };
    const auto answer = std::make_shared<Answer>();
    http::CallHandlers handlers;
    handlers.on_head = [answer](const http::Response& head) { answer->status = head.status; };
    handlers.on_data = [answer](std::string_view bytes) {
      if (answer->body.size() < kMaxBody) answer->body.append(bytes);
    };
    handlers.on_done = [self = shared_from_this(), answer, then = std::move(then)](const absl::Status& status) {
      self->nobody_listens = absl::IsUnavailable(status) && answer->status == 0;
      if (!self->stopped) then(status.ok() ? answer->status : 0, answer->body);
    };
    client->Start(std::move(request), std::move(handlers));
  }

  void Poll() {
    Get(adapters::EngineOf(discovery.target.kind).health_path,
        [this](int status, const std::string&) { OnHealth(status); });
  }

  void OnHealth(int status) {
    const bool now_healthy = status == 200;
    if (!ready && now_healthy) return Ask();
    if (!ready) {
      if (loop.Now() >= give_up) {
        stopped = true;
        return events.on_missing(absl::StrCat("the engine at ", discovery.target.host, ":", discovery.target.port,
                                              status == 0 ? " cannot be reached" : absl::StrCat(" answers ", status),
                                              "; start it, or correct ENGINE_URL"));
      }
      events.on_waiting(status == 0 ? "waiting for the engine to listen"
                                    : absl::StrCat("waiting for the engine: it answers ", status));
    } else {
      started = now_healthy || (started && !nobody_listens);
      failures = now_healthy ? 0 : failures + 1;
      const bool verdict = failures < kFailuresUntilUnhealthy;
      if (verdict != healthy) {
        healthy = verdict;
        events.on_health(healthy);
      }
    }
    PollLater();
  }

  void PollLater() {
    timer = loop.After(ready ? Duration(kPollAfterReady) : Duration(kPollBeforeReady), [self = weak_from_this()] {
      if (const auto state = self.lock(); state && !state->stopped) state->Poll();
    });
  }

  // /info, then /v1/models, then /metrics: whatever the engine has.
  void Ask() {
    Get("/info", [this](int info_status, const std::string& info) {
      if (info_status == 200) adapters::ReadInfo(info, discovery);
      Get("/v1/models", [this](int models_status, const std::string& models) {
        if (auto name = adapters::FirstModel(models); models_status == 200 && name.ok()) discovery.target.model = *name;
        const std::string_view metrics = adapters::EngineOf(discovery.target.kind).metrics_path;
        Get(metrics.empty() ? "/metrics" : metrics, [this](int metrics_status, const std::string& text) {
          if (metrics_status == 200) adapters::ReadMetrics(text, discovery);
          ready = healthy = started = true;
          events.on_ready(discovery);
          PollLater();
        });
      });
    });
  }

  http::Loop& loop;
  const TimePoint give_up;
  const EngineWatchEvents events;
  adapters::Discovery discovery;
  std::unique_ptr<http::Client> client;
  std::unique_ptr<http::Loop::Timer> timer;
  bool ready = false, healthy = false, started = false, stopped = false;
  bool nobody_listens = false;  // as the last request found
  int failures = 0;
};

EngineWatch::EngineWatch(http::Loop& loop, adapters::EngineTarget target, Duration start_timeout,
                         EngineWatchEvents events)
    : state_(std::make_shared<State>(loop, std::move(target), start_timeout, std::move(events))) {
  state_->Poll();
}

EngineWatch::~EngineWatch() {
  state_->stopped = true;
  state_->timer.reset();
}

bool EngineWatch::healthy() const { return state_->healthy; }
bool EngineWatch::started() const { return state_->started; }

}  // namespace patella::sidecar
