// A credential plugin for tests: a shell script that prints what a file says, and counts its runs.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "lib/kube/kubeconfig.h"

namespace patella::kube {

class ExecScript {
 public:
  static constexpr char kApiVersion[] = "client.authentication.k8s.io/v1";

  // `body` is the script's end; by default it prints the answer.
  explicit ExecScript(const std::string& body = "cat \"$FOLDER/answer\"") {
    std::string pattern = testing::TempDir() + "exec-XXXXXX";
    folder_ = mkdtemp(pattern.data());
    std::ofstream(path()) << "#!/bin/sh\nFOLDER='" << folder_ << "'\necho run >> \"$FOLDER/runs\"\n" << body << "\n";
    chmod(path().c_str(), 0700);
  }
  ~ExecScript() {
    for (const char* name : {"/plugin", "/runs", "/answer", "/info"}) unlink((folder_ + name).c_str());
    rmdir(folder_.c_str());
  }
  ExecScript(const ExecScript&) = delete;
  ExecScript& operator=(const ExecScript&) = delete;

  void Print(const std::string& text) const { std::ofstream(folder_ + "/answer") << text; }
  // {"token": …, "expirationTimestamp": …} and the like.
  void Give(const nlohmann::json& status) const {
    Print(nlohmann::json{{"apiVersion", kApiVersion}, {"kind", "ExecCredential"}, {"status", status}}.dump());
  }
  int runs() const { return static_cast<int>(Read("/runs").size() / std::string("run\n").size()); }
  std::string Read(const std::string& name) const {
    std::ifstream file(folder_ + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string path() const { return folder_ + "/plugin"; }

  void UseIn(ClusterAccess& access) const { access.exec = ExecPlugin{.api_version = kApiVersion, .command = path()}; }

 private:
  std::string folder_;
};

}  // namespace patella::kube
