// What lies in deploy/ is valid, and the AcceleratorClasses there are the planner's catalogue.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lib/api/parse.h"
#include "lib/api/to_science.h"
#include "lib/science/catalogue.h"

namespace patella::api {
namespace {

std::vector<AcceleratorClass> Classes() {
  std::vector<AcceleratorClass> classes;
  const auto parsed = ParseFile(PATELLA_DEPLOY "/accelerators/accelerators.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  if (!parsed.ok()) return classes;
  for (const Object& object : *parsed) classes.push_back(std::get<AcceleratorClass>(object));
  return classes;
}

TEST(SamplesTest, EverySampleIsValidAndNamesClassesThatAreThere) {
  std::vector<std::string> names;
  for (const AcceleratorClass& one : Classes()) names.push_back(one.metadata.name);
  int samples = 0;
  for (const auto& file : std::filesystem::directory_iterator(PATELLA_DEPLOY "/samples")) {
    if (file.path().extension() != ".yaml") continue;
    SCOPED_TRACE(file.path().string());
    const auto parsed = ParseFile(file.path().string());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    for (const Object& object : *parsed) {
      const auto* deployment = std::get_if<InferenceDeployment>(&object);
      ASSERT_NE(deployment, nullptr);
      for (const std::string& name : deployment->spec.hardware.accelerator_classes)
        EXPECT_THAT(names, ::testing::Contains(name));
      ++samples;
    }
  }
  EXPECT_GE(samples, 5);
}

TEST(SamplesTest, EveryAcceleratorOfTheCatalogueIsAClassWithTheSameFigures) {
  std::vector<AcceleratorClass> classes = Classes();
  for (const science::Accelerator& known : science::KnownAccelerators()) {
    SCOPED_TRACE(known.name);
    const auto it = std::find_if(classes.begin(), classes.end(),
                                 [&known](const AcceleratorClass& c) { return c.metadata.name == known.name; });
    ASSERT_NE(it, classes.end()) << "has no AcceleratorClass in deploy/accelerators";
    const science::Accelerator converted = ToAccelerator(*it);
    EXPECT_EQ(converted.instance, known.instance);
    EXPECT_DOUBLE_EQ(converted.memory_gb, known.memory_gb);
    EXPECT_DOUBLE_EQ(converted.bandwidth_gb_per_s, known.bandwidth_gb_per_s);
    EXPECT_DOUBLE_EQ(converted.fp16_tflops, known.fp16_tflops);
    EXPECT_EQ(converted.nvlink, known.nvlink);
    EXPECT_EQ(converted.per_node, known.per_node);
    EXPECT_EQ(converted.price_per_node_hour, known.price_per_node_hour);
    EXPECT_EQ(it->resource_name, "nvidia.com/gpu");
    classes.erase(it);
  }
  ASSERT_EQ(classes.size(), 1u) << "a class that the catalogue does not know";
  EXPECT_EQ(classes[0].metadata.name, "cpu");
  EXPECT_EQ(classes[0].resource_name, "");
}

TEST(SamplesTest, AClassWithoutUsableMemoryOrPriceHasAnEstimateAndCostsNothing) {
  AcceleratorClass plain;
  plain.memory_gib = 80;
  const science::Accelerator converted = ToAccelerator(plain);
  EXPECT_NEAR(converted.memory_gb, 79.03, 0.01);
  EXPECT_EQ(converted.price_per_node_hour.micro_dollars, 0);
}

TEST(SamplesTest, MoneyIsCountedInMillionthsAndWhatIsFinerIsDropped) {
  EXPECT_EQ(ToMoney("0.123456789")->micro_dollars, 123456);
  EXPECT_EQ(ToMoney("32.77")->micro_dollars, 32770000);
  EXPECT_FALSE(ToMoney("").has_value());
}

}  // namespace
}  // namespace patella::api
