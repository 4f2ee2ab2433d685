#include "lib/metrics/metrics.h"

#include <dirent.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <mutex>

#include "lib/base/text.h"
#include "lib/metrics/list.h"

namespace patella::metrics {
namespace {

[[noreturn]] void Bug(const std::string& what) {
  std::fprintf(stderr, "bug in metrics: %s (see lib/metrics/list.cc)\n", what.c_str());
  std::abort();
}

const MetricInfo& Checked(std::string_view name, MetricType type, const Labels& labels) {
  const MetricInfo* metric = FindMetric(name);
  if (metric == nullptr) Bug(StrCat("no metric is called ", name));
  if (metric->type != type) Bug(StrCat(name, " has another type"));
  if (labels.size() != metric->labels.size()) Bug(StrCat(name, " takes the labels {", Join(metric->labels, ","), "}"));
  for (const std::string_view label : metric->labels) {
    if (!labels.contains(std::string(label))) Bug(StrCat(name, " needs the label ", label));
  }
  return *metric;
}

struct ProcessFigures {
  double cpu_seconds = 0;
  double resident_bytes = 0;
  double virtual_bytes = 0;
  double threads = 0;
  double open_fds = 0;
  double max_fds = 0;
};

double CountFileDescriptors() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  double count = -3;  // ".", ".." and the directory itself
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

ProcessFigures ReadProcessFigures() {
  ProcessFigures figures;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    figures.cpu_seconds = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                          1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  }
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const double value = std::strtod(line.c_str() + colon + 1, nullptr);
    const std::string_view key = std::string_view(line).substr(0, colon);
    if (key == "VmRSS") figures.resident_bytes = value * 1024;
    if (key == "VmSize") figures.virtual_bytes = value * 1024;
    if (key == "Threads") figures.threads = value;
  }
  figures.open_fds = CountFileDescriptors();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) figures.max_fds = static_cast<double>(limit.rlim_cur);
  return figures;
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  Labels constant_labels;
  std::mutex exposing;

  Labels ConstantOf(const MetricInfo& metric) const {
    return metric.name.starts_with("process_") ? Labels{} : constant_labels;
  }

  template <typename Builder>
  auto& Family(Builder builder, const MetricInfo& metric) {
    return builder.Name(std::string(metric.name))
        .Help(std::string(metric.help))
        .Labels(ConstantOf(metric))
        .Register(registry);
  }
};

void Counter::Add(double amount) const { static_cast<prometheus::Counter*>(metric_)->Increment(amount); }
double Counter::Value() const { return static_cast<prometheus::Counter*>(metric_)->Value(); }
void Gauge::Set(double value) const { static_cast<prometheus::Gauge*>(metric_)->Set(value); }
void Gauge::Add(double amount) const { static_cast<prometheus::Gauge*>(metric_)->Increment(amount); }
double Gauge::Value() const { return static_cast<prometheus::Gauge*>(metric_)->Value(); }
void Histogram::Observe(double value) const { static_cast<prometheus::Histogram*>(metric_)->Observe(value); }

Metrics::Metrics(std::string_view program, std::string_view version, Labels constant_labels)
    : impl_(std::make_unique<Impl>()) {
  impl_->constant_labels = std::move(constant_labels);
  GetGauge("patella_build_info", {{"version", std::string(version)}, {"program", std::string(program)}}).Set(1);
  GetGauge("process_start_time_seconds").Set(static_cast<double>(std::time(nullptr)));
}

Metrics::~Metrics() = default;

Counter Metrics::GetCounter(std::string_view name, const Labels& labels) {
  const MetricInfo& metric = Checked(name, MetricType::kCounter, labels);
  return Counter(&impl_->Family(prometheus::BuildCounter(), metric).Add(labels));
}

Gauge Metrics::GetGauge(std::string_view name, const Labels& labels) {
  const MetricInfo& metric = Checked(name, MetricType::kGauge, labels);
  return Gauge(&impl_->Family(prometheus::BuildGauge(), metric).Add(labels));
}

void Metrics::RemoveGauge(std::string_view name, const Labels& labels) {
  const MetricInfo& metric = Checked(name, MetricType::kGauge, labels);
  auto& family = impl_->Family(prometheus::BuildGauge(), metric);
  family.Remove(&family.Add(labels));
}

Histogram Metrics::GetHistogram(std::string_view name, const Labels& labels) {
  const MetricInfo& metric = Checked(name, MetricType::kHistogram, labels);
  const prometheus::Histogram::BucketBoundaries edges(metric.buckets.begin(), metric.buckets.end());
  return Histogram(&impl_->Family(prometheus::BuildHistogram(), metric).Add(labels, edges));
}

std::string Metrics::Expose() {
  {
    const std::lock_guard lock(impl_->exposing);
    const ProcessFigures figures = ReadProcessFigures();
    const Counter cpu = GetCounter("process_cpu_seconds_total");
    cpu.Add(std::max(0.0, figures.cpu_seconds - cpu.Value()));
    GetGauge("process_resident_memory_bytes").Set(figures.resident_bytes);
    GetGauge("process_virtual_memory_bytes").Set(figures.virtual_bytes);
    GetGauge("process_threads").Set(figures.threads);
    GetGauge("process_open_fds").Set(figures.open_fds);
    GetGauge("process_max_fds").Set(figures.max_fds);
  }
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace patella::metrics
