// Early return on errors. Both need a function that returns absl::Status or absl::StatusOr.
//
//   PATELLA_RETURN_IF_ERROR(Check(model));
//   PATELLA_ASSIGN_OR_RETURN(const Url url, ParseUrl(text));
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define PATELLA_MACRO_CONCAT_INNER(a, b) a##b
#define PATELLA_MACRO_CONCAT(a, b) PATELLA_MACRO_CONCAT_INNER(a, b)

#define PATELLA_RETURN_IF_ERROR(expression)                                                      \
  do {                                                                                           \
    if (absl::Status patella_status = (expression); !patella_status.ok()) return patella_status; \
  } while (false)

#define PATELLA_ASSIGN_OR_RETURN(declaration, expression) \
  PATELLA_ASSIGN_OR_RETURN_IMPL(PATELLA_MACRO_CONCAT(patella_statusor_, __LINE__), declaration, expression)
#define PATELLA_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                          \
  if (!result.ok()) return std::move(result).status();                 \
  declaration = *std::move(result)
