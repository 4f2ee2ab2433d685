#include "engine/serve/start.h"

#include <arpa/inet.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "engine/formats/gguf.h"
#include "engine/model/loader.h"
#include "engine/serve/control.h"
#include "engine/serve/engine_loop.h"
#include "engine/serve/kv_tokens.h"
#include "engine/serve/service.h"
#include "engine/text/tokenizer.h"
#include "lib/base/cgroup.h"
#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/wire/errors.h"

namespace patella::engine {
namespace {

constexpr int kBlockSize = 16;

struct Model {
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Executor> executor;
  ModelInfo info;
};

// The container runtime sets HOSTNAME to the machine's name: only an address is taken from it.
std::string Address(const Settings& settings) {
  const std::string& text = settings.String("HOSTNAME");
  unsigned char buffer[16];
  if (text == "localhost") return "127.0.0.1";
  if (inet_pton(AF_INET, text.c_str(), buffer) == 1 || inet_pton(AF_INET6, text.c_str(), buffer) == 1) return text;
  LogWarning("hostname_ignored", {{"hostname", text}, {"reason", "not an address; listening on 127.0.0.1"}});
  return "127.0.0.1";
}

absl::StatusOr<Model> Load(const Settings& settings) {
  Model model;
  const std::string& path = settings.String("MODEL_ID");
  PATELLA_ASSIGN_OR_RETURN(model.file, GgufFile::Open(path));
  PATELLA_ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::FromGguf(*model.file));
  PATELLA_ASSIGN_OR_RETURN(model.info, ReadModelInfo(*model.file));
  const int64_t kv_tokens = KvTokens(settings.Int("MAX_BATCH_TOTAL_TOKENS"), model.info.kv_bytes_per_token, kBlockSize,
                                     {.available = AvailableMemory(),
                                      .limit = CgroupMemoryLimit(),
                                      .weights = static_cast<int64_t>(model.file->file_size())});
  const CpuOptions options{.threads = static_cast<int>(settings.Int("NUM_THREADS")),
                           .kv_tokens = kv_tokens,
                           .block_size = kBlockSize,
                           .max_tokens_per_forward = static_cast<int>(settings.Int("MAX_BATCH_PREFILL_TOKENS"))};
  PATELLA_ASSIGN_OR_RETURN(model.executor, LoadCpu(*model.file, options));
  LogInfo("memory",
          {{"weights_mib", model.file->file_size() >> 20},
           {"kv_mib", (kv_tokens * model.info.kv_bytes_per_token) >> 20},
           {"kv_tokens", kv_tokens},
           {"logits_mib", (static_cast<int64_t>(model.info.vocab) * 4 * options.max_tokens_per_forward) >> 20}});
  return model;
}

ServiceOptions Options(const Settings& settings, const Model& model, const std::string& version) {
  ServiceOptions options;
  options.model_id = settings.String("MODEL_ID");
  options.served_name = settings.String("SERVED_MODEL_NAME");
  if (options.served_name.empty()) options.served_name = std::filesystem::path(options.model_id).stem().string();
  options.version = version;
  options.keep_alive = std::chrono::seconds(settings.Int("SSE_KEEP_ALIVE_SECONDS"));
  const Capacity capacity = model.executor->capacity();
  const int64_t kv = static_cast<int64_t>(capacity.blocks) * capacity.block_size;
  const int64_t most = std::min<int64_t>(kv, model.info.context_length);
  options.max_total_tokens = static_cast<int>(settings.Int("MAX_TOTAL_TOKENS"));
  if (options.max_total_tokens == 0) options.max_total_tokens = static_cast<int>(most);
  options.max_input_tokens = static_cast<int>(settings.Int("MAX_INPUT_TOKENS"));
  if (options.max_input_tokens == 0) options.max_input_tokens = options.max_total_tokens - 1;
  return options;
}

absl::Status CheckOptions(const ServiceOptions& options, const Model& model) {
  const Capacity capacity = model.executor->capacity();
  const int64_t kv = static_cast<int64_t>(capacity.blocks) * capacity.block_size;
  if (options.max_total_tokens > model.info.context_length) {
    return absl::InvalidArgumentError("MAX_TOTAL_TOKENS is " + std::to_string(options.max_total_tokens) +
                                      ", but the model's context is " + std::to_string(model.info.context_length));
  }
  if (options.max_total_tokens > kv) {
    return absl::InvalidArgumentError("MAX_TOTAL_TOKENS is " + std::to_string(options.max_total_tokens) +
                                      ", but the KV cache holds " + std::to_string(kv) +
                                      " tokens: lower it or raise MAX_BATCH_TOTAL_TOKENS");
  }
  if (options.max_input_tokens >= options.max_total_tokens) {
    return absl::InvalidArgumentError("MAX_INPUT_TOKENS (" + std::to_string(options.max_input_tokens) +
                                      ") must be below MAX_TOTAL_TOKENS (" + std::to_string(options.max_total_tokens) +
                                      ")");
  }
  return absl::OkStatus();
}

// Everything that exists once the model is loaded. Made off the loop's thread, used and destroyed on it.
struct Running {
  Running(http::Loop& loop, Model loaded, ServiceOptions options, const SchedulerOptions& schedule,
          const Limits& limits)
      : model(std::move(loaded)),
        service(loop, *model.tokenizer, std::move(options)),
        engine(
            *model.executor, schedule, limits,
            [this](int32_t token) { return model.tokenizer->IsEndOfGeneration(token); },
            [this, &loop](std::vector<Event> events) {
              loop.Post([this, events = std::move(events)]() mutable { service.OnEvents(std::move(events)); });
            }) {
    service.Attach(engine);
  }

  Model model;
  Service service;
  EngineLoop engine;
  std::unique_ptr<ControlServer> control;
};

absl::StatusOr<std::unique_ptr<Running>> Prepare(http::Loop& loop, const Settings& settings,
                                                 const std::string& version) {
  PATELLA_ASSIGN_OR_RETURN(Model model, Load(settings));
  const ServiceOptions service_options = Options(settings, model, version);
  PATELLA_RETURN_IF_ERROR(CheckOptions(service_options, model));
  const Capacity capacity = model.executor->capacity();
  const SchedulerOptions schedule{.block_size = capacity.block_size,
                                  .blocks = capacity.blocks,
                                  .max_tokens_per_forward = capacity.max_tokens_per_forward,
                                  .full_reservation = settings.String("KV_RESERVATION") == "full"};
  Limits limits;
  limits.max_concurrent_requests = static_cast<int>(settings.Int("MAX_CONCURRENT_REQUESTS"));
  limits.max_batch_prefill_tokens = static_cast<int>(settings.Int("MAX_BATCH_PREFILL_TOKENS"));
  limits.max_batch_size = static_cast<int>(settings.Int("MAX_BATCH_SIZE"));
  PATELLA_RETURN_IF_ERROR(Scheduler::Check(schedule, limits));
  auto running = std::make_unique<Running>(loop, std::move(model), service_options, schedule, limits);
  PATELLA_RETURN_IF_ERROR(running->engine.WarmUp());
  if (const std::string& path = settings.String("CONTROL_SOCKET"); !path.empty()) {
    PATELLA_ASSIGN_OR_RETURN(running->control, ControlServer::Listen(path, running->engine, service_options));
  }
  return running;
}

// The program from its bound port on: while the model loads, every route answers 503.
class Program {
 public:
  Program(const Settings& settings, std::string version) : settings_(settings), version_(std::move(version)) {}

  absl::Status Run() {
    http::ServerOptions options;
    options.address = Address(settings_);
    options.port = static_cast<int>(settings_.Int("PORT"));
    PATELLA_ASSIGN_OR_RETURN(
        server_, http::Server::Listen(loop_, options, [this](http::Request request, auto exchange) {
          if (running_ != nullptr) return running_->service.Handle(std::move(request), std::move(exchange));
          exchange->Send(wire::ErrorResponse(ErrorKind::kUnavailable, "the model is being loaded: try again later",
                                             request.path()));
        }));
    loop_.OnSignals({SIGINT, SIGTERM}, [this](int) { OnSignal(); });
    std::fprintf(stderr, "listening on http://%s\n", server_->address().c_str());
    std::thread loader([this] {
      auto prepared = std::make_shared<absl::StatusOr<std::unique_ptr<Running>>>(Prepare(loop_, settings_, version_));
      loop_.Post([this, prepared] { OnPrepared(std::move(*prepared)); });
    });
    loop_.Run();
    loader.join();
    server_.reset();
    running_.reset();
    return status_;
  }

 private:
  void OnPrepared(absl::StatusOr<std::unique_ptr<Running>> prepared) {
    if (!prepared.ok()) {
      status_ = prepared.status();
      return loop_.Stop();
    }
    running_ = *std::move(prepared);
    running_->engine.Start();
    LogInfo("ready", {{"model", settings_.String("MODEL_ID")}});
  }

  void OnSignal() {
    if (++signals_ > 1 || running_ == nullptr) return loop_.Stop();
    LogInfo("draining", {{"in_flight", running_->service.in_flight()}, {"seconds", settings_.Int("DRAIN_SECONDS")}});
    // The port stays open, so that newcomers are told to come back (503) and not refused.
    running_->service.Drain(std::chrono::seconds(settings_.Int("DRAIN_SECONDS")), [this] { loop_.Stop(); });
  }

  const Settings& settings_;
  const std::string version_;
  http::Loop loop_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<Running> running_;
  absl::Status status_;
  int signals_ = 0;
};

}  // namespace

absl::Status Serve(const Settings& settings, const std::string& version) {
  PATELLA_RETURN_IF_ERROR(SetLogLevel(settings.String("LOG_LEVEL")));
  return Program(settings, version).Run();
}

}  // namespace patella::engine
