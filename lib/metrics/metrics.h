// A program's metrics: handles to count with, and the text that Prometheus scrapes.
//
//   Metrics metrics("patella-sidecar", "0.1.0", {{"model_name", "smollm2"}});
//   const Counter admitted = metrics.GetCounter("patella_admission_total", {{"outcome", "admitted"}, {"reason",
//   "permit"}}); admitted.Add();
//
// Names and label names must be those of list.h: anything else is a bug, and ends the program with a message that names
// it. So take handles once, at start. Thread-safe; a handle is a pointer, valid as long as its Metrics (or until its gauge is
// removed), and cheap to copy and use.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace patella::metrics {

using Labels = std::map<std::string, std::string>;

class Counter {
 public:
  void Add(double amount = 1) const;  // amount ≥ 0
  double Value() const;

 private:
  friend class Metrics;
  explicit Counter(void* metric) : metric_(metric) {}
  void* metric_;
};

class Gauge {
 public:
  void Set(double value) const;
  void Add(double amount) const;
  double Value() const;

 private:
  friend class Metrics;
  explicit Gauge(void* metric) : metric_(metric) {}
  void* metric_;
};

class Histogram {
 public:
  void Observe(double value) const;

 private:
  friend class Metrics;
  explicit Histogram(void* metric) : metric_(metric) {}
  void* metric_;
};

class Metrics {
 public:
  // `constant_labels` (model_name, deployment, revision) are put on every patella_* and tgi_* metric.
  Metrics(std::string_view program, std::string_view version, Labels constant_labels = {});
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter GetCounter(std::string_view name, const Labels& labels = {});
  Gauge GetGauge(std::string_view name, const Labels& labels = {});
  // What the gauge told of is gone: neither it nor its last value is exposed any longer. Handles to it must not be used again.
  void RemoveGauge(std::string_view name, const Labels& labels);
  Histogram GetHistogram(std::string_view name, const Labels& labels = {});

  // Prometheus text format 0.0.4 of everything taken so far, with the process's own figures read at this moment.
  std::string Expose();
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::metrics
