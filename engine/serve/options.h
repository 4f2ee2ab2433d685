// What the routes need to know of the server that they belong to.
#pragma once

#include <string>

#include "lib/base/clock.h"

namespace patella::engine {

struct ServiceOptions {
  std::string model_id;
  std::string served_name;  // in OpenAI's answers
  std::string version;
  std::string backend = "cpu";
  int max_input_tokens = 0;
  int max_total_tokens = 0;                        // input + output of one request
  int default_max_new_tokens = 100;                // current TGI's; OpenAI's chat too
  Duration keep_alive = std::chrono::seconds(15);  // a stream silent for so long gets a comment; zero: never
};

enum class Route { kGenerate, kGenerateStream, kCompat, kInvocations, kCompletions, kChat };
constexpr bool IsOpenAi(Route route) { return route == Route::kCompletions || route == Route::kChat; }

}  // namespace patella::engine
