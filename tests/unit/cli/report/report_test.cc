#include "cli/report/report.h"

#include <cmath>

#include "cli/report/plot.h"
#include "gtest/gtest.h"

namespace patella::cli {
namespace {

Report Example() {
  Report report;
  report.title = "Tom & <Jerry>";
  report.verdict = "Limit 11 holds.";
  report.law = ReportLaw{9, 3, {}, 0.05};
  for (int c : {1, 4, 11})
    report.points.push_back(
        {.concurrency = c, .tokens_per_second = 1e3 * c / (9 + 3 * c), .mean_ms_per_token = 9.0 + 3 * c});
  report.knees = {
      {"Half-latency", 7.5, "…", true}, {"Power", 3, "…"}, {"Power twin", 3.01, "…"}, {"No knee", NAN, "…"}};
  report.target = ReportTarget{"p90 ≤ 50 ms", 50, true};
  report.limit = 11;
  report.arms = {{"with", 47, 230, 90, 300, 0, true}, {"without", INFINITY, 0, 0, 0, 9, false}};
  report.how = {{"seconds", "14"}};
  report.next_commands = {"patella bench http://x"};
  return report;
}

size_t Count(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

TEST(HtmlReportTest, HasEverySectionOnce) {
  const std::string page = RenderHtml(Example());
  for (std::string_view part :
       {"<!doctype html>", "Limit 11 holds.", "<h2>Latency over throughput</h2>", "<h2>Latency over concurrency</h2>",
        "<h2>Under overload</h2>", "<h2>The knee, by every definition</h2>", "<h2>What was measured</h2>",
        "<h2>How it was measured</h2>", "<h2>What to do next</h2>", "</html>"}) {
    EXPECT_EQ(Count(page, part), 1u) << part;
  }
  EXPECT_EQ(Count(page, "<svg"), 2u);
  EXPECT_EQ(Count(page, "class=\"point\""), 6u);
  EXPECT_EQ(Count(page, ">limit 11<"), 2u);
}

TEST(HtmlReportTest, LoadsNothingFromAnywhere) {
  const std::string page = RenderHtml(Example());
  for (std::string_view outside : {"src=", "href=", "@import", "<script", "<link", "url(http"})
    EXPECT_EQ(Count(page, outside), 0u) << outside;
}

TEST(HtmlReportTest, TextFromOutsideIsEscaped) {
  const std::string page = RenderHtml(Example());
  EXPECT_EQ(Count(page, "<Jerry>"), 0u);
  EXPECT_EQ(Count(page, "Tom &amp; &lt;Jerry&gt;"), 2u);
}

TEST(HtmlReportTest, NeverShowsNanOrInfinity) {
  const std::string page = RenderHtml(Example());
  for (std::string_view bad : {"nan", "inf\"", ">inf", "-inf"}) EXPECT_EQ(Count(page, bad), 0u) << bad;
}

TEST(HtmlReportTest, AnEmptyReportIsAPageToo) {
  const std::string page = RenderHtml({.title = "t", .verdict = "v"});
  EXPECT_EQ(Count(page, "<svg"), 0u);
  EXPECT_EQ(Count(page, "</html>"), 1u);
}

TEST(PlotTest, LabelsOfNeighboursStandALineApart) {
  for (auto side : {Plot::Callouts::kLeftAbove, Plot::Callouts::kRightBelow}) {
    Plot plot("p", {"x", 10}, {"y", 10}, side);
    for (double y : {4.0, 4.05, 4.1, 4.15}) plot.Callout({5, y}, "knee", "label");
    const std::string svg = plot.Svg();
    std::vector<double> lines;
    for (size_t at = 0; (at = svg.find("class=\"knee-text", at)) != std::string::npos; ++at) {
      const size_t y = svg.rfind("y=\"", at) + 3;
      lines.push_back(std::stod(svg.substr(y, 8)));
    }
    ASSERT_EQ(lines.size(), 4u);
    for (size_t i = 1; i < lines.size(); ++i) EXPECT_GE(std::fabs(lines[i] - lines[i - 1]), 15) << svg;
  }
}

TEST(RoundTicksTest, CoverTheRangeInRoundSteps) {
  EXPECT_EQ(RoundTicks(9, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(RoundTicks(0.9, 3), (std::vector<double>{0, 0.5, 1}));
  EXPECT_EQ(RoundTicks(0, 5), (std::vector<double>{0, 1}));
}

TEST(NumberTest, KeepsThreeDigitsThatMatter) {
  EXPECT_EQ(Number(1234.5), "1234");
  EXPECT_EQ(Number(87.26), "87.3");
  EXPECT_EQ(Number(8.421), "8.42");
  EXPECT_EQ(Number(0.0612), "0.061");
  EXPECT_EQ(Number(11), "11");
  EXPECT_EQ(Number(NAN), "–");
  EXPECT_EQ(Number(INFINITY), "–");
}

TEST(RenderTableTest, AlignsColumnsByCharactersNotBytes) {
  EXPECT_EQ(RenderTable({{"a", "±95%"}, {"long", "–"}}), "a     ±95%\nlong     –\n");
}

TEST(TerminalPlotTest, HasPointsAndAxes) {
  const std::string plot = RenderTerminalPlot(Example(), 76, false);
  EXPECT_GE(Count(plot, "●"), 3u);
  EXPECT_EQ(plot.find('\x1b'), std::string::npos);
  EXPECT_EQ(RenderTerminalPlot({}, 76, false), "");
}

}  // namespace
}  // namespace patella::cli
