// A streaming engine on loopback that makes up its tokens: as many as a request asks for, one each `step`, in either dialect.
#pragma once

#include <algorithm>
#include <charconv>
#include <list>
#include <memory>
#include <string>

#include "lib/adapters/generation.h"
#include "lib/http/loop.h"
#include "lib/http/server.h"

namespace patella::loadgen {

class FakeEngine {
 public:
  struct Options {
    adapters::EngineKind kind = adapters::EngineKind::kOpenAi;
    Duration step = std::chrono::milliseconds(1);
    int refuse_above = 1 << 20;  // concurrent streams; then 429
    int dies_after_requests = 1 << 20;
    int status = 200;        // of every answer
    int prompt_tokens = 40;  // what it says of every prompt; 0: a token a word
  };

  FakeEngine(http::Loop& loop, Options options) : loop_(loop), options_(options) {
    server_ = http::Server::Listen(loop, {}, [this](http::Request request, std::shared_ptr<http::Exchange> exchange) {
                Handle(request, std::move(exchange));
              }).value();
    step_ = loop.Every(options.step, [this] { Step(); });
  }

  adapters::EngineTarget target() const {
    return {.kind = options_.kind, .port = server_ ? server_->port() : port_, .model = "fake"};
  }

  int requests = 0, refused = 0, most_at_once = 0, abandoned = 0;

 private:
  struct Stream {
    std::shared_ptr<http::Exchange> exchange;
    int left, prompt_tokens, made = 0;
    bool gone = false;
  };

  static int Asked(const std::string& body) {
    for (std::string_view key : {"\"max_tokens\":", "\"max_new_tokens\":"}) {
      const size_t at = body.find(key);
      int value = 1;
      if (at != std::string::npos) {
        std::from_chars(body.data() + at + key.size(), body.data() + body.size(), value);
        return value;
      }
    }
    return 1;
  }

  static int Words(const std::string& body) { return 1 + static_cast<int>(std::count(body.begin(), body.end(), ' ')); }

  void Handle(const http::Request& request, std::shared_ptr<http::Exchange> exchange) {
    if (request.method == "GET") return exchange->Send({.body = "{}"});
    if (++requests > options_.dies_after_requests) return Die(exchange);
    if (options_.status != 200)
      return exchange->Send({.status = options_.status, .body = "{\"error\":\"no such model\"}"});
    if (static_cast<int>(streams_.size()) >= options_.refuse_above) {
      ++refused;
      return exchange->Send(
          {.status = 429, .body = "{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}"});
    }
    exchange->StartStream(200, {{"Content-Type", "text/event-stream"}});
    auto stream = std::make_shared<Stream>(Stream{
        exchange, Asked(request.body), options_.prompt_tokens > 0 ? options_.prompt_tokens : Words(request.body)});
    exchange->OnClose([this, stream] { stream->gone = true, ++abandoned; });
    streams_.push_back(stream);
    most_at_once = std::max(most_at_once, static_cast<int>(streams_.size()));
  }

  void Die(const std::shared_ptr<http::Exchange>& exchange) {
    exchange->Abort();
    for (auto& stream : streams_) stream->exchange->Abort();
    streams_.clear();
    loop_.Post([this] {
      if (server_) port_ = server_->port();
      server_.reset();
    });
  }

  void Step() {
    for (auto it = streams_.begin(); it != streams_.end();) {
      Stream& stream = **it;
      if (!stream.gone) WriteToken(stream);
      it = stream.gone || stream.left == 0 ? streams_.erase(it) : std::next(it);
    }
  }

  void WriteToken(Stream& stream) {
    --stream.left, ++stream.made;
    const std::string made = std::to_string(stream.made);
    if (options_.kind == adapters::EngineKind::kTgi) {
      const std::string details = stream.left > 0
                                      ? "null"
                                      : "{\"finish_reason\":\"length\",\"generated_tokens\":" + made +
                                            ",\"input_length\":" + std::to_string(stream.prompt_tokens) + "}";
      stream.exchange->Write("data:{\"index\":" + made +
                             ",\"token\":{\"id\":1,\"text\":\" a\"},\"details\":" + details + "}\n\n");
    } else {
      stream.exchange->Write("data: {\"choices\":[{\"text\":\" a\",\"finish_reason\":null}]}\n\n");
      if (stream.left == 0) {
        stream.exchange->Write(
            "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\ndata: "
            "{\"choices\":[],\"usage\":{\"prompt_tokens\":" +
            std::to_string(stream.prompt_tokens) + ",\"completion_tokens\":" + made + "}}\n\ndata: [DONE]\n\n");
      }
    }
    if (stream.left == 0) stream.exchange->Finish();
  }

  http::Loop& loop_;
  const Options options_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<http::Loop::Timer> step_;
  std::list<std::shared_ptr<Stream>> streams_;
  int port_ = 0;
};

}  // namespace patella::loadgen
