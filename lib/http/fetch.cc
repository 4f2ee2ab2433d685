// A whole answer at once, for tools and tests. No Boost here.
#include <utility>

#include "lib/base/text.h"
#include "lib/http/client.h"

namespace patella::http {

constexpr size_t kMaxFetchBytes = 64 << 20;

absl::StatusOr<Response> Fetch(std::string_view url, Request request, Duration timeout) {
  const absl::StatusOr<Url> parsed = ParseUrl(url);
  if (!parsed.ok()) return parsed.status();
  request.target = parsed->path;
  Loop loop;
  const std::unique_ptr<Client> client =
      Client::Create(loop, {.host = parsed->host, .port = parsed->port, .max_idle_connections = 0});
  Response response;
  absl::Status ended = absl::DeadlineExceededError(StrCat(url, ": no complete answer within ", Seconds(timeout), " s"));
  std::shared_ptr<Call> call;
  CallHandlers handlers;
  handlers.on_head = [&](const Response& head) { response = head; };
  handlers.on_data = [&](std::string_view bytes) {
    if (response.body.size() + bytes.size() > kMaxFetchBytes) {
      ended = absl::ResourceExhaustedError(StrCat(url, ": the answer is larger than ", kMaxFetchBytes, " bytes"));
      return loop.Stop();
    }
    response.body.append(bytes);
  };
  handlers.on_done = [&](const absl::Status& status) {
    ended = status;
    loop.Stop();
  };
  const auto timer = loop.After(timeout, [&] { loop.Stop(); });
  call = client->Start(std::move(request), std::move(handlers));
  loop.Run();
  if (!ended.ok()) return ended;
  return response;
}

}  // namespace patella::http
