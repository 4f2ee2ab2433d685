#include "sidecar/engine/control.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "patella/engine/v1/engine.grpc.pb.h"

namespace patella::sidecar {
namespace {

namespace pb = patella::engine::v1;
constexpr auto kRetry = std::chrono::seconds(1);
constexpr auto kCallTimeout = std::chrono::seconds(5);
constexpr int kStatsIntervalMs = 500;

class Control final : public EngineControl {
 public:
  Control(http::Loop& loop, std::string socket_path, ControlEvents events) : loop_(loop), events_(std::move(events)) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    channel_ = grpc::CreateCustomChannel("unix:" + socket_path, grpc::InsecureChannelCredentials(), arguments);
    stub_ = pb::EngineControl::NewStub(channel_);
    stats_thread_ = std::thread([this] { WatchForever(); });
    limits_thread_ = std::thread([this] { SendLimitsForever(); });
  }

  ~Control() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      if (watch_ != nullptr) watch_->TryCancel();
    }
    wake_.notify_all();
    stats_thread_.join();
    limits_thread_.join();
    *alive_ = false;
  }

  void SetMaxConcurrentRequests(int limit) override {
    {
      std::lock_guard lock(mutex_);
      wanted_ = limit;
      sent_ = 0;
    }
    wake_.notify_all();
  }

 private:
  // False when stopping.
  bool Sleep(std::chrono::milliseconds duration) {
    std::unique_lock lock(mutex_);
    return !wake_.wait_for(lock, duration, [this] { return stopping_; });
  }

  void Post(std::function<void()> fn) {
    loop_.Post([alive = alive_, fn = std::move(fn)] {  // alive_ is read and written on the loop's thread alone
      if (*alive) fn();
    });
  }

  void WatchForever() {
    do {
      if (!ReadInfo()) continue;
      {
        std::lock_guard lock(mutex_);
        sent_ = 0;  // a new connection may be a new engine: it gets the limit again
      }
      wake_.notify_all();
      ReadStats();
    } while (Sleep(kRetry));
  }

  bool ReadInfo() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    pb::GetInfoResponse reply;
    if (!stub_->GetInfo(&context, {}, &reply).ok()) return false;
    EngineInfo info{.model = reply.model_id(),
                    .version = reply.version(),
                    .kv_capacity_tokens = reply.kv_capacity_tokens(),
                    .max_total_tokens = reply.max_total_tokens(),
                    .max_concurrent_requests = reply.limits().max_concurrent_requests()};
    Post([this, info = std::move(info)] {
      if (events_.on_info) events_.on_info(info);
    });
    return true;
  }

  void ReadStats() {
    grpc::ClientContext context;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      watch_ = &context;
    }
    pb::WatchStatsRequest request;
    request.set_interval_ms(kStatsIntervalMs);
    const auto reader = stub_->WatchStats(&context, request);
    for (pb::WatchStatsResponse reply; reader->Read(&reply);) {
      const EngineStats stats{.running = reply.running(),
                              .waiting = reply.waiting(),
                              .kv_tokens_used = reply.kv_tokens_used(),
                              .kv_tokens_capacity = reply.kv_tokens_capacity(),
                              .last_step_ms = reply.last_step_ms()};
      Post([this, stats] {
        if (events_.on_stats) events_.on_stats(stats);
      });
    }
    {
      std::lock_guard lock(mutex_);
      watch_ = nullptr;
    }
    const grpc::Status status = reader->Finish();
    Post([this, why = status.error_message()] {
      if (events_.on_lost) events_.on_lost(why);
    });
  }

  void SendLimitsForever() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      wake_.wait(lock, [this] { return stopping_ || sent_ != wanted_; });
      if (stopping_) return;
      const int wanted = wanted_;
      lock.unlock();
      const bool sent = SendLimit(wanted);
      lock.lock();
      if (sent && wanted_ == wanted) sent_ = wanted;
      if (!sent) wake_.wait_for(lock, kRetry, [this] { return stopping_; });
    }
  }

  bool SendLimit(int limit) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    pb::SetLimitsRequest request;
    request.mutable_limits()->set_max_concurrent_requests(limit);
    pb::SetLimitsResponse reply;
    const grpc::Status status = stub_->SetLimits(&context, request, &reply);
    if (!status.ok()) return status.error_code() == grpc::StatusCode::UNIMPLEMENTED;
    Post([this, generation = reply.generation(), now = reply.limits().max_concurrent_requests()] {
      if (events_.on_limits) events_.on_limits(generation, now);
    });
    return true;
  }

  http::Loop& loop_;
  const ControlEvents events_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<pb::EngineControl::Stub> stub_;

  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  bool stopping_ = false;
  int wanted_ = 0, sent_ = 0;
  grpc::ClientContext* watch_ = nullptr;

  std::thread stats_thread_, limits_thread_;
};

}  // namespace

std::unique_ptr<EngineControl> EngineControl::Start(http::Loop& loop, std::string socket_path, ControlEvents events) {
  return std::make_unique<Control>(loop, std::move(socket_path), std::move(events));
}

}  // namespace patella::sidecar
