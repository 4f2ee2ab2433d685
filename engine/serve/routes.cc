#include "engine/serve/routes.h"

#include <algorithm>
#include <array>

#include "lib/base/text.h"

namespace patella::engine {
namespace {

using enum HttpRoute::Kind;

constexpr std::array kRoutes = {
    HttpRoute{"GET", "/", kRead},
    HttpRoute{"GET", "/info", kRead},
    HttpRoute{"GET", "/health", kRead},
    HttpRoute{"GET", "/ping", kRead},
    HttpRoute{"GET", "/metrics", kRead},
    HttpRoute{"GET", "/v1/models", kRead},
    HttpRoute{"POST", "/", kGenerate, Route::kCompat},
    HttpRoute{"POST", "/generate", kGenerate, Route::kGenerate},
    HttpRoute{"POST", "/generate_stream", kGenerate, Route::kGenerateStream},
    HttpRoute{"POST", "/tokenize", kTokenize},
    HttpRoute{"POST", "/chat_tokenize", kChatTokenize},
    HttpRoute{"POST", "/invocations", kGenerate, Route::kInvocations},
    HttpRoute{"POST", "/v1/completions", kGenerate, Route::kCompletions},
    HttpRoute{"POST", "/v1/chat/completions", kGenerate, Route::kChat},
};

}  // namespace

std::span<const HttpRoute> HttpRoutes() { return kRoutes; }

const HttpRoute* FindRoute(std::string_view method, std::string_view path) {
  if (method == "HEAD") method = "GET";
  const auto it = std::find_if(kRoutes.begin(), kRoutes.end(),
                               [&](const HttpRoute& r) { return r.method == method && r.path == path; });
  return it == kRoutes.end() ? nullptr : &*it;
}

std::string MethodsOf(std::string_view path) {
  std::string methods;
  if (FindRoute("GET", path) != nullptr) methods = "GET, HEAD";
  if (FindRoute("POST", path) != nullptr) StrAppend(&methods, methods.empty() ? "" : ", ", "POST");
  return methods;
}

std::string RoutesText() {
  std::string text;
  std::string_view method;
  for (const HttpRoute& route : kRoutes) {
    if (route.method != method) {
      StrAppend(&text, text.empty() ? "" : "; ", route.method, " ");
      method = route.method;
    } else {
      StrAppend(&text, ", ");
    }
    StrAppend(&text, route.path);
  }
  return text;
}

}  // namespace patella::engine
