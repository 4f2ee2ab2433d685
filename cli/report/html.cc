#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/report/plot.h"
#include "cli/report/report.h"
#include "cli/report/style.h"

namespace patella::cli {
namespace {

constexpr int kCurveSteps = 160;

// The law as ReportLaw states it; see lib/science/curve.h.
double MsPerToken(const ReportLaw& law, double c) {
  const double cap = law.cap.value_or(INFINITY);
  const double inside = law.a_ms + law.b_ms * std::min(c, cap);
  return c > cap ? inside * c / cap : inside;
}
double TokensPerSecond(const ReportLaw& law, double c) { return 1e3 * c / MsPerToken(law, c); }

std::string Percent(double ratio) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f %%", 100 * ratio);
  return text;
}

std::string ToneClass(Tone tone) {
  switch (tone) {
    case Tone::kGood:
      return "good";
    case Tone::kWarning:
      return "warning";
    case Tone::kBad:
      return "bad";
    case Tone::kNeutral:
      break;
  }
  return "neutral";
}

std::string Optional(const std::optional<double>& value) { return value ? Number(*value) : "–"; }

std::string Tag(std::string_view tag, std::string_view text) {
  return "<" + std::string(tag) + ">" + EscapeHtml(text) + "</" + std::string(tag.substr(0, tag.find(' '))) + ">";
}

// How far the charts reach: every point, the limit and the target, and the knees that are not far beyond what was measured.
struct Extent {
  double concurrency = 1, ms = 1, tokens_per_second = 1;
};

Extent ExtentOf(const Report& report) {
  Extent extent;
  const auto include = [&](double c, double ms, double throughput) {
    extent.concurrency = std::max(extent.concurrency, c);
    extent.ms = std::max(extent.ms, ms);
    extent.tokens_per_second = std::max(extent.tokens_per_second, throughput);
  };
  for (const ReportPoint& point : report.points)
    include(point.concurrency, point.mean_ms_per_token, point.tokens_per_second);
  double reach = 1.6 * std::max(extent.concurrency, static_cast<double>(report.limit.value_or(1)));
  for (const ReportKnee& knee : report.knees) {
    if (std::isfinite(knee.concurrency) && knee.concurrency <= reach)
      extent.concurrency = std::max(extent.concurrency, knee.concurrency);
  }
  if (report.limit) extent.concurrency = std::max(extent.concurrency, static_cast<double>(*report.limit));
  if (report.target && report.target->per_token) extent.ms = std::max(extent.ms, report.target->limit_ms);
  if (report.law) {
    const double c = 1.1 * extent.concurrency;
    include(c, MsPerToken(*report.law, c), TokensPerSecond(*report.law, c));
  }
  return extent;
}

using Projection = double (*)(const ReportLaw&, double concurrency);  // a concurrency's place on the x axis

void AddLaw(Plot& plot, const ReportLaw& law, double to, Projection x) {
  std::vector<PlotPoint> line, upper, lower;
  for (int i = 0; i <= kCurveSteps; ++i) {
    const double c = 0.5 + (to - 0.5) * i / kCurveSteps;
    const double ms = MsPerToken(law, c);
    line.push_back({x(law, c), ms});
    upper.push_back({x(law, c), ms * (1 + law.error_ratio)});
    lower.push_back({x(law, c), ms * (1 - law.error_ratio)});
  }
  if (law.error_ratio > 0) plot.Band(upper, lower, "band");
  plot.Line(line, "law");
}

void AddPoints(Plot& plot, const Report& report, bool over_throughput) {
  for (const ReportPoint& point : report.points) {
    const double x = over_throughput ? point.tokens_per_second : point.concurrency;
    const std::string tooltip = std::to_string(point.concurrency) + " at once: " + Number(point.mean_ms_per_token) +
                                " ms/token, " + Number(point.tokens_per_second) + " tokens/s" +
                                (point.phase.empty() ? "" : " (" + point.phase + ")");
    const bool verify = point.phase.starts_with("verify");
    plot.Dot({x, point.mean_ms_per_token}, verify ? 5.5 : 4.5, verify ? "verify" : "point", tooltip,
             over_throughput ? std::to_string(point.concurrency) : "");
  }
}

void AddMarks(Plot& plot, const Report& report, double reach, Projection x) {
  if (report.target && report.target->per_token) {
    plot.HorizontalLine(report.target->limit_ms, "target", "target " + Number(report.target->limit_ms));
  }
  if (!report.law) return;
  const ReportLaw& law = *report.law;
  for (const ReportKnee& knee : report.knees) {
    if (!(knee.concurrency > 0) || knee.concurrency > reach) continue;
    plot.Callout({x(law, knee.concurrency), MsPerToken(law, knee.concurrency)}, "knee",
                 knee.definition + " " + Number(knee.concurrency));
  }
  if (report.limit) {
    const double c = *report.limit;
    plot.VerticalLine(x(law, c), "limit", "limit " + std::to_string(*report.limit));
  }
}

std::string Charts(const Report& report) {
  if (report.points.empty()) return "";
  const Extent extent = ExtentOf(report);
  const double reach = 1.1 * extent.concurrency;
  Plot over_throughput("throughput", {"throughput, tokens per second", extent.tokens_per_second},
                       {"latency, ms per token", extent.ms}, Plot::Callouts::kLeftAbove);
  Plot over_concurrency("concurrency", {"requests at once", reach}, {"latency, ms per token", extent.ms},
                        Plot::Callouts::kRightBelow);
  const Projection concurrency = [](const ReportLaw&, double c) { return c; };
  if (report.law) AddLaw(over_throughput, *report.law, 1.4 * reach, TokensPerSecond);
  if (report.law) AddLaw(over_concurrency, *report.law, 1.4 * reach, concurrency);
  AddMarks(over_throughput, report, reach, TokensPerSecond);
  AddMarks(over_concurrency, report, reach, concurrency);
  AddPoints(over_throughput, report, true);
  AddPoints(over_concurrency, report, false);
  std::string law_text;
  if (report.law) {
    law_text = "Law: R(c) = " + Number(report.law->a_ms) + " + " + Number(report.law->b_ms) + "·c ms per token";
    if (report.law->cap) law_text += ", up to " + Number(*report.law->cap) + " requests whose KV cache fits";
    if (report.law->error_ratio > 0) law_text += "; band: ±" + Percent(report.law->error_ratio);
  }
  return "<section class=\"pair\"><figure><h2>Latency over throughput</h2>" + over_throughput.Svg() + "<figcaption>" +
         "Each dot is a measured number of requests at once. Further right is more work done, further down is faster." +
         "</figcaption></figure><figure><h2>Latency over concurrency</h2>" + over_concurrency.Svg() + "<figcaption>" +
         EscapeHtml(law_text) + "</figcaption></figure></section>\n";
}

struct Bar {
  std::string name, value;
  double length;  // share of the whole width
  bool ours;
};

std::string Bars(std::string_view heading, const std::vector<Bar>& bars, double mark, std::string_view mark_text) {
  std::string out = "<figure><h3>" + EscapeHtml(heading) + "</h3><div class=\"bars\">";
  for (const Bar& bar : bars) {
    char width[32];
    std::snprintf(width, sizeof width, "%.1f%%", 100 * std::clamp(bar.length, 0.004, 1.0));
    out += "<div class=\"bar-name\">" + EscapeHtml(bar.name) + "</div><div class=\"track\"><div class=\"bar " +
           (bar.ours ? "ours" : "theirs") + "\" style=\"width:" + width + "\"></div>";
    if (mark > 0 && mark <= 1) {
      char at[32];
      std::snprintf(at, sizeof at, "%.1f%%", 100 * mark);
      out += "<div class=\"mark\" style=\"left:" + std::string(at) + "\"></div>";
    }
    const double mark_beside = mark > bar.length - 0.01 && mark < bar.length + 0.15 ? mark : bar.length;
    char left[32];
    std::snprintf(left, sizeof left, "%.1f%%", 100 * std::clamp(mark_beside, 0.004, 1.0));
    out +=
        "<span class=\"bar-value\" style=\"left:" + std::string(left) + "\">" + EscapeHtml(bar.value) + "</span></div>";
  }
  out += "</div>";
  if (!mark_text.empty()) out += "<figcaption>" + EscapeHtml(mark_text) + "</figcaption>";
  return out + "</figure>";
}

// "p90 time per output token, ms": what the target is about.
std::string ComparedLatency(const Report& report) {
  if (!report.target) return "p90, ms";
  return report.target->text.substr(0, report.target->text.find(" ≤")) + ", ms";
}

std::string Arms(const Report& report) {
  if (report.arms.empty()) return "";
  double worst = report.target ? report.target->limit_ms : 0, best = 0;
  for (const ReportArm& arm : report.arms) {
    if (std::isfinite(arm.p90_ms)) worst = std::max(worst, arm.p90_ms);
    best = std::max(best, arm.goodput_tokens_per_second);
  }
  std::vector<Bar> latency, goodput;
  for (const ReportArm& arm : report.arms) {
    const double length = std::isfinite(arm.p90_ms) && worst > 0 ? 0.8 * arm.p90_ms / worst : 0;
    latency.push_back({arm.name, Number(arm.p90_ms) + " ms", length, arm.ours});
    const std::string counts = Number(arm.goodput_tokens_per_second) + " tokens/s";
    goodput.push_back({arm.name, counts, best > 0 ? 0.7 * arm.goodput_tokens_per_second / best : 0, arm.ours});
  }
  const double mark = report.target && worst > 0 ? 0.8 * report.target->limit_ms / worst : 0;
  std::string counts;
  for (const ReportArm& arm : report.arms) {
    counts += (counts.empty() ? "" : " · ") + arm.name + ": " + std::to_string(arm.completed) + " answered, " +
              std::to_string(arm.refused) + " refused at once, " + std::to_string(arm.failed) + " failed";
  }
  return "<section><h2>Under overload</h2><p class=\"lead\">" + EscapeHtml(report.arms_title) +
         "</p><div class=\"pair bare\">" +
         Bars(ComparedLatency(report) + " (shorter is better)", latency, mark,
              report.target ? "The line is the target: " + report.target->text : "") +
         Bars("Goodput, tokens/s within the target (longer is better)", goodput, 0, counts) + "</div></section>\n";
}

std::string Knees(const Report& report) {
  if (report.knees.empty()) return "";
  std::string out =
      "<section><h2>The knee, by every definition</h2><div "
      "class=\"scroll\"><table><thead><tr><th>Definition</th><th>Requests at once</th>"
      "<th>ms per token</th><th>tokens/s</th><th class=\"wide\">What it means</th></tr></thead><tbody>";
  for (const ReportKnee& knee : report.knees) {
    const bool placed = report.law && std::isfinite(knee.concurrency);
    out += std::string("<tr") + (knee.chosen ? " class=\"chosen\"" : "") + ">" + Tag("th", knee.definition) +
           Tag("td", Number(knee.concurrency)) +
           Tag("td", placed ? Number(MsPerToken(*report.law, knee.concurrency)) : "–") +
           Tag("td", placed ? Number(TokensPerSecond(*report.law, knee.concurrency)) : "–") +
           Tag("td class=\"wide\"", knee.meaning) + "</tr>";
  }
  return out + "</tbody></table></div></section>\n";
}

std::string Points(const Report& report) {
  if (report.points.empty()) return "";
  std::string out =
      "<section><h2>What was measured</h2><div class=\"scroll\"><table><thead><tr><th>Requests at "
      "once</th><th>tokens/s</th><th>± 95 %</th>"
      "<th>mean ms/token</th><th>p90 ms per output token</th><th>p90 first token, ms</th><th>p90 end to end, "
      "ms</th><th>refused</th>"
      "<th>Little</th><th>phase</th></tr></thead><tbody>";
  for (const ReportPoint& point : report.points) {
    out += "<tr>" + Tag("th", std::to_string(point.concurrency)) + Tag("td", Number(point.tokens_per_second)) +
           Tag("td", point.tokens_per_second_ci95 > 0 ? Number(point.tokens_per_second_ci95) : "–") +
           Tag("td", Number(point.mean_ms_per_token)) + Tag("td", Optional(point.p90_tpot_ms)) +
           Tag("td", Optional(point.p90_ttft_ms)) + Tag("td", Optional(point.p90_e2e_ms)) +
           Tag("td", std::to_string(point.refused)) + Tag("td", Optional(point.little_ratio)) + Tag("td", point.phase) +
           "</tr>";
  }
  return out + "</tbody></table></div></section>\n";
}

std::string HowAndNext(const Report& report) {
  std::string out = "<section class=\"pair\">";
  if (!report.how.empty()) {
    out += "<div><h2>How it was measured</h2><dl>";
    for (const auto& [name, value] : report.how) out += Tag("dt", name) + Tag("dd", value);
    out += "</dl></div>";
  }
  if (!report.next_commands.empty()) {
    out += "<div><h2>What to do next</h2>";
    for (const std::string& command : report.next_commands) out += "<pre>" + EscapeHtml(command) + "</pre>";
    out += "</div>";
  }
  return out + "</section>\n";
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string RenderHtml(const Report& report) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, "
      "initial-scale=1\">\n<title>" +
      EscapeHtml(report.title) + " – Patella</title>\n<style>" + std::string(kStyle) +
      "</style>\n</head>\n<body>\n<header><span class=\"brand\">Patella</span>" + Tag("h1", report.title) +
      "<p class=\"lead\">" + EscapeHtml(report.subtitle) + "</p></header>\n<main>\n<section class=\"verdict " +
      ToneClass(report.tone) + "\"><p>" + EscapeHtml(report.verdict) + "</p>";
  if (!report.figures.empty()) {
    out += "<div class=\"figures\">";
    for (const auto& [name, value] : report.figures) out += "<div>" + Tag("b", value) + Tag("span", name) + "</div>";
    out += "</div>";
  }
  out += "</section>\n";
  if (!report.note.empty()) out += "<section class=\"note\">" + EscapeHtml(report.note) + "</section>\n";
  out += Charts(report) + Arms(report) + Knees(report) + Points(report) + HowAndNext(report);
  return out + "</main>\n</body>\n</html>\n";
}

}  // namespace patella::cli
