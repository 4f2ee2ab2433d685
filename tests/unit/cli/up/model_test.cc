#include "cli/up/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cli/up/ports.h"

namespace patella::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "model_test.XXXXXX";
    folder_ = mkdtemp(pattern.data());
    std::ofstream(folder_ / "real.gguf") << "GGUF and more";
    std::ofstream(folder_ / "text.gguf") << "hello";
    std::ofstream(folder_ / "cut.gguf") << "GG";
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string ErrorOf(const std::string& uri) {
    return std::string(ResolveModel(uri, (folder_ / "x.yaml").string()).status().message());
  }
  fs::path folder_;
};

TEST_F(ModelTest, APathIsAbsoluteOrBesideTheYaml) {
  const std::string real = (folder_ / "real.gguf").string();
  for (const std::string& uri :
       {"file://" + real, std::string("file://./real.gguf"), std::string("file://real.gguf")}) {
    const auto resolved = ResolveModel(uri, (folder_ / "x.yaml").string());
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    EXPECT_EQ(*resolved, real);
  }
}

TEST_F(ModelTest, WhatIsWrongIsNamedWithARemedy) {
  EXPECT_THAT(ErrorOf("file://./none.gguf"), HasSubstr("none.gguf: the model is not there: run tools/fetch_model.sh"));
  EXPECT_THAT(ErrorOf("file://./text.gguf"), HasSubstr("text.gguf: is not a GGUF file (5 bytes"));
  EXPECT_THAT(ErrorOf("file://./cut.gguf"), HasSubstr("cut.gguf: is not a GGUF file (2 bytes"));
  EXPECT_THAT(ErrorOf("file://" + folder_.string()), HasSubstr("is a folder"));
  EXPECT_THAT(ErrorOf("pvc://models/x"), HasSubstr("pvc://models/x needs a cluster; locally use file://"));
}

TEST(PortsTest, PortZeroIsReplacedByAFreeOne) {
  const auto address = CheckAddress("--listen", "127.0.0.1:0");
  ASSERT_TRUE(address.ok()) << address.status();
  EXPECT_THAT(*address, ::testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]+"));
}

TEST(PortsTest, WhatIsNoAddressIsRefused) {
  for (const char* wrong : {"8080", "localhost", "127.0.0.1:99999", "127.0.0.1:", "example.org:80"}) {
    EXPECT_THAT(std::string(CheckAddress("--listen", wrong).status().message()), HasSubstr("expected ADDRESS:PORT"))
        << wrong;
  }
}

TEST(PortsTest, AllInterfacesAreReachedOverLoopback) { EXPECT_EQ(UrlOf("0.0.0.0:80"), "http://127.0.0.1:80"); }

}  // namespace
}  // namespace patella::cli
