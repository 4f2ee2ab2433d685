// What happened to some ConfigMaps, by the one who changed them and by a cache that follows: an oracle for reflectors.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "lib/kube/cache.h"
#include "lib/kube/client.h"

namespace patella::integration {

using History = std::map<std::string, std::vector<std::string>>;  // name -> data.n of each change, "gone"

inline std::string Numbered(const std::string& name, int number) {
  return nlohmann::json{{"metadata", {{"name", name}}}, {"data", {{"n", std::to_string(number)}}}}.dump();
}

inline std::string NumberOf(const kube::Object& object) { return nlohmann::json::parse(object.json())["data"]["n"]; }

// Changes ConfigMaps by a connection of its own and keeps the log. One thread.
class Writer {
 public:
  Writer(kube::Client* client, std::string ns, uint64_t seed) : client_(client), ns_(std::move(ns)), random_(seed) {}

  void Change() {
    const std::string name = "o" + std::to_string(random_.UniformInt(0, 7));
    std::vector<std::string>& log = log_[name];
    const bool exists = !log.empty() && log.back() != "gone";
    if (exists && random_.Uniform() < 0.25) {
      ASSERT_TRUE(client_->Delete(kube::kConfigMaps, ns_, name).ok());
      log.push_back("gone");
      return;
    }
    const std::string body = Numbered(name, ++number_);
    const auto written = exists ? client_->MergePatch(kube::kConfigMaps, ns_, name, body)
                                : client_->Create(kube::kConfigMaps, ns_, body);
    ASSERT_TRUE(written.ok()) << written.status();
    log.push_back(std::to_string(number_));
  }
  const History& log() const { return log_; }

 private:
  kube::Client* client_;
  const std::string ns_;
  Random random_;
  int number_ = 0;
  History log_;
};

// What a cache tells of them. Thread-safe; lives as long as the cache.
class Told {
 public:
  explicit Told(kube::Cache& cache) {
    cache.AddHandler([this](const kube::Change& change) {
      const std::string name(change.object().name());
      if (name == "kube-root-ca.crt") return;  // Kubernetes itself puts it into each namespace
      const std::lock_guard lock(mutex_);
      log_[name].push_back(change.after == nullptr ? "gone" : NumberOf(*change.after));
    });
  }
  History log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }

 private:
  mutable std::mutex mutex_;
  History log_;
};

// The cache holds what the server has, to the version.
inline void ExpectSame(const kube::Cache& cache, kube::Client& client, const std::string& ns) {
  const auto listed = kube::ListAll(client, cache.resource(), {.namespace_name = ns});
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_EQ(cache.size(), listed->items.size());
  for (const kube::ObjectPtr& object : listed->items) {
    const kube::ObjectPtr cached = cache.Get(object->key());
    ASSERT_NE(cached, nullptr) << object->name();
    EXPECT_EQ(cached->resource_version(), object->resource_version()) << object->name();
  }
}

}  // namespace patella::integration
