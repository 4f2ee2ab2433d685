#include "lib/kube/client.h"

#include "lib/base/status_macros.h"

namespace patella::kube {

absl::StatusOr<ListPage> ListAll(Client& client, const Resource& resource, ListOptions options) {
  ListPage all;
  while (true) {
    absl::StatusOr<ListPage> page = client.List(resource, options);
    if (!page.ok() && IsExpired(page.status()) && !options.continue_token.empty()) {
      all.items.clear();
      options.continue_token.clear();
      options.limit = 0;  // compaction overtook the pages: all at once
      continue;
    }
    PATELLA_RETURN_IF_ERROR(page.status());
    if (all.items.empty()) {
      all.items = std::move(page->items);
    } else {
      all.items.insert(all.items.end(), std::make_move_iterator(page->items.begin()),
                       std::make_move_iterator(page->items.end()));
    }
    all.resource_version = page->resource_version;
    if (page->continue_token.empty()) return all;
    options.continue_token = page->continue_token;
    options.resource_version.clear();  // the token carries it
  }
}

}  // namespace patella::kube
