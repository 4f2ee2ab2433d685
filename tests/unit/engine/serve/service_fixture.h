// The routes over real loopback sockets, with the executor and the tokenizer of fakes.h.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/serve/service.h"
#include "lib/http/client.h"
#include "tests/unit/engine/serve/fakes.h"

namespace patella::engine {

class ServiceTest : public testing::Test {
 protected:
  void Start(int max_concurrent = 4) {
    service_ = std::make_unique<Service>(loop_, tokenizer_, options_);
    const Capacity c = executor_.capacity();
    engine_ = std::make_unique<EngineLoop>(
        executor_,
        SchedulerOptions{
            .block_size = c.block_size, .blocks = c.blocks, .max_tokens_per_forward = c.max_tokens_per_forward},
        Limits{.max_concurrent_requests = max_concurrent, .max_batch_prefill_tokens = 64},
        [](int32_t t) { return t == 0; },
        [this](std::vector<Event> events) {
          loop_.Post([this, events = std::move(events)]() mutable { service_->OnEvents(std::move(events)); });
        });
    service_->Attach(*engine_);
    engine_->Start();
    server_ = *http::Server::Listen(loop_, {},
                                    [this](http::Request r, auto e) { service_->Handle(std::move(r), std::move(e)); });
    url_ = "http://" + server_->address();
    thread_ = std::thread([this] { loop_.Run(); });
  }
  void TearDown() override {
    executor_.SetOpen(true);
    engine_.reset();
    loop_.Stop();
    if (thread_.joinable()) thread_.join();
    server_.reset();
  }
  http::Response Post(const std::string& path, const std::string& body) {
    http::Request request{.method = "POST", .body = body};
    request.headers.Set("Content-Type", "application/json");
    return *http::Fetch(url_ + path, request);
  }
  http::Response Get(const std::string& path) { return *http::Fetch(url_ + path); }
  template <typename F>
  auto OnLoop(F fn) {
    std::promise<decltype(fn())> result;
    loop_.Post([&] { result.set_value(fn()); });
    return result.get_future().get();
  }
  // Once the engine computes for it.
  void LeaveAfterTheHead(const std::string& path, const std::string& body) {
    const int before = executor_.begun();
    http::Loop client_loop;
    auto client = http::Client::Create(client_loop, {.port = server_->port()});
    client_loop.Post([&] {
      auto call = std::make_shared<std::shared_ptr<http::Call>>();
      *call = client->Start({.method = "POST", .target = path, .body = body},
                            {.on_head =
                                 [&, call](const http::Response&) {
                                   while (executor_.begun() == before) std::this_thread::yield();
                                   (*call)->Cancel();
                                 },
                             .on_data = [](std::string_view) {},
                             .on_done = [&](const absl::Status&) { client_loop.Stop(); }});
    });
    client_loop.Run();
  }
  void WaitForInFlight(int wanted) {
    while (OnLoop([this] { return service_->in_flight(); }) != wanted) std::this_thread::yield();
  }

  ServiceOptions options_{
      .model_id = "m.gguf", .served_name = "m", .version = "1", .max_input_tokens = 99, .max_total_tokens = 200};
  LetterExecutor executor_;
  ByteTokenizer tokenizer_;
  http::Loop loop_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<EngineLoop> engine_;
  std::unique_ptr<http::Server> server_;
  std::string url_;
  std::thread thread_;
};

}  // namespace patella::engine
