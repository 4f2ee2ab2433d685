// The HTTP routes in one list: what the service answers, what a 404 offers, and what docs/engine.md tells of.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "engine/serve/options.h"

namespace patella::engine {

struct HttpRoute {
  enum class Kind { kRead, kTokenize, kChatTokenize, kGenerate };
  std::string_view method, path;  // GET means HEAD as well
  Kind kind;
  Route generates = Route::kGenerate;  // of kGenerate
};

std::span<const HttpRoute> HttpRoutes();
const HttpRoute* FindRoute(std::string_view method, std::string_view path);  // null: none
std::string MethodsOf(std::string_view path);                                // "GET, HEAD, POST"; "": no such path
std::string RoutesText();                                                    // "GET /, /info, …; POST /, …"

}  // namespace patella::engine
