// A small SVG plot: scales, axes, lines and labels that keep out of each other's way. Used by the report only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace patella::cli {

struct PlotPoint {
  double x, y;
};

// Ascending round numbers from 0 that cover [0, max], about `wanted` of them.
std::vector<double> RoundTicks(double max, int wanted);

class Plot {
 public:
  struct Axis {
    std::string title;
    double max = 1;
  };
  enum class Callouts { kLeftAbove, kRightBelow };  // where nothing else is drawn
  Plot(std::string name, Axis x, Axis y, Callouts side);

  // Coordinates are data values; `style` is a CSS class of the page. What lies above an axis' end is cut off.
  void Line(const std::vector<PlotPoint>& points, std::string_view style);
  void Band(const std::vector<PlotPoint>& upper, const std::vector<PlotPoint>& lower, std::string_view style);
  void Dot(PlotPoint at, double radius, std::string_view style, std::string_view tooltip, std::string_view text);
  void Whisker(double x, double from_y, double to_y, std::string_view style);
  void HorizontalLine(double y, std::string_view style, std::string_view label);  // label in the right margin
  void VerticalLine(double x, std::string_view style, std::string_view label);    // label above the plot
  // A marker with a leader to its label on the empty side of the curve; Svg() moves the labels apart.
  void Callout(PlotPoint at, std::string_view style, std::string label);

  std::string Svg() const;

 private:
  struct Label {
    double x, y;  // of the marker, in pixels
    std::string style, text;
  };
  double PixelX(double x) const;
  double PixelY(double y) const;
  std::string Path(const std::vector<PlotPoint>& points, char first) const;
  std::string Axes() const;
  std::string CalloutsLeftAbove() const;
  std::string CalloutsRightBelow() const;

  std::string name_;
  Axis x_, y_;
  Callouts side_;
  std::string body_;
  std::vector<Label> callouts_;
};

}  // namespace patella::cli
