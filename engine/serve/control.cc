#include "engine/serve/control.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "patella/engine/v1/engine.grpc.pb.h"

namespace patella::engine {
namespace {

namespace v1 = patella::engine::v1;

void Fill(const Limits& limits, v1::Limits* out) {
  out->set_max_concurrent_requests(limits.max_concurrent_requests);
  out->set_max_batch_prefill_tokens(limits.max_batch_prefill_tokens);
  out->set_max_batch_total_tokens(static_cast<int32_t>(limits.max_batch_total_tokens));
  out->set_max_batch_size(limits.max_batch_size);
}

class ControlService final : public v1::EngineControl::Service {
 public:
  ControlService(EngineLoop& engine, ServiceOptions options) : engine_(engine), options_(std::move(options)) {}

  grpc::Status GetInfo(grpc::ServerContext*, const v1::GetInfoRequest*, v1::GetInfoResponse* out) override {
    const LimitsInForce limits = engine_.limits();
    out->set_model_id(options_.model_id);
    out->set_version(options_.version);
    out->set_backend(options_.backend);
    out->set_max_input_tokens(options_.max_input_tokens);
    out->set_max_total_tokens(options_.max_total_tokens);
    out->set_kv_capacity_tokens(engine_.stats().schedule.capacity_tokens);
    out->set_kv_block_size(engine_.options().block_size);
    out->set_tensor_parallel_size(1);
    out->set_limits_generation(limits.generation);
    Fill(limits.limits, out->mutable_limits());
    return grpc::Status::OK;
  }

  grpc::Status SetLimits(grpc::ServerContext*, const v1::SetLimitsRequest* in, v1::SetLimitsResponse* out) override {
    const v1::Limits& wanted = in->limits();
    const absl::StatusOr<LimitsInForce> now =
        engine_.SetLimits({.max_concurrent_requests = wanted.max_concurrent_requests(),
                           .max_batch_prefill_tokens = wanted.max_batch_prefill_tokens(),
                           .max_batch_total_tokens = wanted.max_batch_total_tokens(),
                           .max_batch_size = wanted.max_batch_size()},
                          in->expected_generation());
    if (!now.ok()) return {static_cast<grpc::StatusCode>(now.status().code()), std::string(now.status().message())};
    out->set_generation(now->generation);
    Fill(now->limits, out->mutable_limits());
    return grpc::Status::OK;
  }

  grpc::Status WatchStats(grpc::ServerContext* context, const v1::WatchStatsRequest* in,
                          grpc::ServerWriter<v1::WatchStatsResponse>* out) override {
    const auto interval = std::chrono::milliseconds(std::max(100, in->interval_ms()));
    while (!context->IsCancelled() && out->Write(Stats())) {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, interval, [this] { return stop_; })) break;
    }
    return grpc::Status::OK;
  }

  void Stop() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
  }

 private:
  v1::WatchStatsResponse Stats() const {
    const EngineStats s = engine_.stats();
    v1::WatchStatsResponse out;
    out.set_running(s.schedule.running);
    out.set_waiting(s.schedule.waiting);
    out.set_kv_tokens_used(s.schedule.leased_tokens);
    out.set_kv_tokens_capacity(s.schedule.capacity_tokens);
    out.set_steps(s.steps);
    out.set_prompt_tokens(s.prompt_tokens);
    out.set_generated_tokens(s.generated_tokens);
    out.set_preemptions(s.schedule.preemptions);
    out.set_last_step_ms(s.last_step_ms);
    out.set_limits_generation(engine_.limits().generation);
    return out;
  }

  EngineLoop& engine_;
  const ServiceOptions options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
};

class ControlServerImpl final : public ControlServer {
 public:
  ControlServerImpl(EngineLoop& engine, const ServiceOptions& options, std::string path)
      : service_(engine, options), path_(std::move(path)) {}
  ~ControlServerImpl() override {
    if (server_ == nullptr) return;
    service_.Stop();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    ::unlink(path_.c_str());
  }
  bool Start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + path_, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    return server_ != nullptr;
  }

 private:
  ControlService service_;
  const std::string path_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Listen(const std::string& path, EngineLoop& engine,
                                                                     const ServiceOptions& options) {
  auto server = std::make_unique<ControlServerImpl>(engine, options, path);
  if (!server->Start()) {
    return absl::UnavailableError("cannot listen on CONTROL_SOCKET " + path +
                                  ": is its folder there and writable, and the path shorter than 108 bytes?");
  }
  return server;
}

}  // namespace patella::engine
