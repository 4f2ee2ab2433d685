// patella-engine: serves one model over TGI's, OpenAI's and SageMaker's routes.
#include <cstdio>
#include <iostream>
#include <string_view>

#include "engine/serve/settings.h"
#include "engine/serve/start.h"
#include "lib/base/error_kind.h"

namespace {

constexpr std::string_view kSummary =
    "Serves one model over TGI's, OpenAI's and SageMaker's routes.\n"
    "Exit codes: 0 ended as asked, 2 wrong settings or a model that cannot be served, 69 an address that cannot be\n"
    "listened on, 70 internal error, 75 out of memory.";

}  // namespace

int main(int argc, char** argv) {
  using namespace patella;
  const auto fail = [](const absl::Status& status) {
    std::fprintf(stderr, "patella-engine: %s\n", std::string(status.message()).c_str());
    return InfoOf(KindOf(status)).exit_code;
  };
  const absl::StatusOr<Settings> settings = Settings::Parse(engine::EngineSettings(), argc, argv);
  if (!settings.ok()) return fail(settings.status());
  if (settings->help_requested()) {
    std::cout << SettingsHelp("patella-engine", kSummary, engine::EngineSettings());
    return 0;
  }
  const absl::Status status = engine::Serve(*settings, PATELLA_VERSION);
  return status.ok() ? 0 : fail(status);
}
