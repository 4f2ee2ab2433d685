// Requests and responses as plain values, shared by server and client.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace patella::http {

// Header fields in arrival order; names compare without regard to case.
class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<std::pair<std::string, std::string>> fields) : fields_(fields) {}

  std::string_view Get(std::string_view name) const;  // first value, or ""
  bool Has(std::string_view name) const;
  void Set(std::string_view name, std::string_view value);  // replaces all of that name
  void Add(std::string_view name, std::string_view value);
  void Remove(std::string_view name);

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct Request {
  std::string method = "GET";
  std::string target = "/";  // path and query, as sent
  Headers headers;
  std::string body;
  std::string peer;  // "127.0.0.1:51312", filled by the server

  std::string_view path() const;   // target without the query
  std::string_view query() const;  // after '?', or ""
};

struct Response {
  int status = 200;
  Headers headers;  // Content-Length, Connection and Date are added by the server
  std::string body;
};

}  // namespace patella::http
