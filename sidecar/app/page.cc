#include "sidecar/app/page.h"

namespace patella::sidecar {

std::string_view StatusPage() {
  static constexpr char kPage[] =
#include "sidecar/app/page.html.inc"
      ;
  return kPage;
}

}  // namespace patella::sidecar
