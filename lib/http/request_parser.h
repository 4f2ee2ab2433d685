// Collects one request as Beast parses it, and bounds what Beast does not. Included by connection.cc only.
#pragma once

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <string>

#include "lib/base/text.h"
#include "lib/http/internal.h"
#include "lib/http/server.h"
#include "lib/http/syntax.h"

namespace patella::http {

namespace beast_http = boost::beast::http;

constexpr size_t kMaxFields = 256;

class RequestParser final : public beast_http::basic_parser<true> {
 public:
  explicit RequestParser(const ServerOptions& options) : max_header_bytes_(options.max_header_bytes) {
    header_limit(static_cast<uint32_t>(options.max_header_bytes));
    body_limit(options.max_body_bytes);
    eager(true);
  }

  Request request;
  int version = 11;
  int host_fields = 0;
  bool odd_encoding = false;  // a Transfer-Encoding other than "chunked" alone

 private:
  using string_view = boost::beast::string_view;
  using verb = beast_http::verb;

  void on_request_impl(verb, string_view method, string_view target, int v, error_code&) override {
    request.method = std::string(method);
    request.target = std::string(target);
    version = v;
    header_bytes_ = method.size() + target.size() + 12;
  }
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_field_impl(beast_http::field field, string_view name, string_view value, error_code& error) override {
    header_bytes_ += name.size() + value.size() + 4;
    if (header_bytes_ > max_header_bytes_ || ++fields_ > kMaxFields) {
      error = beast_http::error::header_limit;
      return;
    }
    if (is_header_done()) return;  // trailers are dropped
    if (field == beast_http::field::host) ++host_fields;
    if (field == beast_http::field::transfer_encoding && !EqualsIgnoringCase(value, "chunked")) odd_encoding = true;
    if (!IsFieldValue(value)) error = beast_http::error::bad_value;
    request.headers.Add(name, value);
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>& size, error_code&) override {
    request.body.reserve(std::min<uint64_t>(size.value_or(0), 64 << 10));
  }
  size_t on_body_impl(string_view bytes, error_code&) override { return request.body.append(bytes), bytes.size(); }
  void on_chunk_header_impl(uint64_t, string_view, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, string_view bytes, error_code&) override {
    return request.body.append(bytes), bytes.size();
  }
  void on_finish_impl(error_code&) override {}

  size_t max_header_bytes_;
  size_t header_bytes_ = 0;
  size_t fields_ = 0;
};

}  // namespace patella::http
