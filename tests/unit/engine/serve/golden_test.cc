// Byte-exact: what each route answers, kept in testdata/routes.txt. Only what differs from run to run is rewritten: times, ids,
// ports. PATELLA_GOLDEN=write rewrites the file.
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>

#include "tests/unit/engine/serve/service_fixture.h"

namespace patella::engine {
namespace {

struct Exchange {
  const char* method;
  const char* path;
  const char* body = "";
};

constexpr char kChat[] =
    R"({"messages":[{"role":"system","content":"w"},{"role":"user","content":[{"type":"text","text":"x"}]}],"max_tokens":3,"temperature":0)";

const Exchange kExchanges[] = {
    {"GET", "/health"},
    {"GET", "/ping"},
    {"GET", "/info"},
    {"GET", "/v1/models"},
    {"GET", "/generate"},
    {"GET", "/nowhere"},
    {"POST", "/tokenize", R"({"inputs":"hé\n"})"},
    {"POST", "/chat_tokenize", R"({"messages":[{"role":"user","content":"hi"}]})"},
    {"POST", "/generate", R"({"inputs":"v","parameters":{"max_new_tokens":2}})"},
    {"POST", "/generate",
     R"({"inputs":"uw","parameters":{"max_new_tokens":9,"details":true,"decoder_input_details":true,"top_n_tokens":2}})"},
    {"POST", "/generate",
     R"({"inputs":"a","parameters":{"max_new_tokens":9,"details":true,"seed":7,"do_sample":true,"top_k":1,"stop":["de"]}})"},
    {"POST", "/generate", R"({"inputs":"a","parameters":{"max_new_tokens":2,"return_full_text":true}})"},
    {"POST", "/generate_stream", R"({"inputs":"x","parameters":{"max_new_tokens":9}})"},
    {"POST", "/generate_stream", R"({"inputs":"x","parameters":{"max_new_tokens":1,"top_n_tokens":1,"details":true}})"},
    {"POST", "/", R"({"inputs":"v","parameters":{"max_new_tokens":2}})"},
    {"POST", "/", R"({"inputs":"v","parameters":{"max_new_tokens":2},"stream":true})"},
    {"POST", "/invocations", R"({"inputs":"v","parameters":{"max_new_tokens":2}})"},
    {"POST", "/v1/completions", R"({"prompt":["v","x"],"max_tokens":3,"temperature":0})"},
    {"POST", "/v1/completions", R"({"prompt":"x","max_tokens":3,"temperature":0,"logprobs":1})"},
    {"POST", "/v1/completions",
     R"({"prompt":"v","max_tokens":3,"temperature":0,"stream":true,"stream_options":{"include_usage":true}})"},
    {"POST", "/v1/completions",
     R"({"prompt":"a","max_tokens":9,"temperature":0,"stream":true,"stop":"de","logprobs":0})"},
    {"POST", "/v1/chat/completions", "CHAT}"},
    {"POST", "/v1/chat/completions", R"(CHAT,"logprobs":true,"top_logprobs":2})"},
    {"POST", "/v1/chat/completions", R"(CHAT,"stream":true,"logprobs":true,"stream_options":{"include_usage":true}})"},
    {"POST", "/generate", "{"},
    {"POST", "/generate", R"({"inputs":["a"]})"},
    {"POST", "/generate", R"({"inputs":"a","parameters":{"max_new_tokens":1000}})"},
    {"POST", "/v1/completions", "[]"},
    {"POST", "/v1/chat/completions", R"({"messages":[],"model":"m"})"},
};

std::string Normalized(std::string text) {
  text = std::regex_replace(text, std::regex(R"("created":[1-9][0-9]*)"), R"("created":CREATED)");
  return std::regex_replace(text, std::regex(R"("id":"(chatcmpl|cmpl)-[0-9]+")"), R"("id":"$1-N")");
}

bool VariesByRun(const std::string& header) {
  return header == "Date" || header == "x-total-time" || header == "x-queue-time" || header == "x-inference-time" ||
         header == "x-time-per-token";
}

TEST_F(ServiceTest, EveryRouteAnswersTheGoldenBytes) {
  Start();
  std::string transcript;
  for (const Exchange& e : kExchanges) {
    std::string body = e.body;
    if (body.starts_with("CHAT")) body.replace(0, 4, kChat);
    http::Request request{.method = e.method, .body = body};
    if (!body.empty()) request.headers.Set("Content-Type", "application/json");
    const http::Response r = *http::Fetch(url_ + e.path, request);
    transcript += std::string("> ") + e.method + " " + e.path + " " + body + "\n< " + std::to_string(r.status) + "\n";
    for (const auto& [name, value] : r.headers) {
      if (!VariesByRun(name)) transcript += "< " + name + ": " + value + "\n";
    }
    transcript += Normalized(r.body) + "\n\n";
  }
  const std::string path = PATELLA_TEST_DATA "/routes.txt";
  if (const char* mode = std::getenv("PATELLA_GOLDEN"); mode != nullptr && std::string(mode) == "write")
    std::ofstream(path) << transcript;
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(transcript, golden.str());
}

}  // namespace
}  // namespace patella::engine
