#include "agent/json_text.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace openp2p::agent {
namespace {

TEST(JsonText, NamesThePlaceOfAnError) {
  const auto parsed = parse_json("{\n  \"a\": 1,\n  \"b\": x\n}");

  ASSERT_FALSE(parsed.value);
  EXPECT_EQ(parsed.failure.line, 3u);
  EXPECT_EQ(parsed.failure.column, 8u);
}

TEST(JsonText, RefusesTruncatedTrailingAndDeepText) {
  EXPECT_FALSE(parse_json("").value);
  EXPECT_FALSE(parse_json("{\"a\":").value);
  EXPECT_FALSE(parse_json("{} {}").value);
  EXPECT_FALSE(parse_json("\"\xff\"").value);
  EXPECT_FALSE(parse_json("\"\n\"").value);
  EXPECT_TRUE(parse_json(std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']')).value);
  EXPECT_FALSE(parse_json(std::string(100'000, '[')).value);
}

TEST(JsonText, AcceptsSpaceAround) { EXPECT_TRUE(parse_json(" \n{}\r\n\t ").value); }

TEST(JsonText, GivesOnlyFieldsOfTheRightType) {
  const auto parsed =
      parse_json(R"({"t":"x","n":7,"m":-1,"f":1.5,"b":true,"big":18446744073709551615})");
  ASSERT_TRUE(parsed.value);
  const auto& object = parsed.value->get_object();

  EXPECT_EQ(json_text(object, "t"), "x");
  EXPECT_FALSE(json_text(object, "n"));
  EXPECT_EQ(json_number(object, "n", 7), 7u);
  EXPECT_FALSE(json_number(object, "n", 6));
  EXPECT_FALSE(json_number(object, "m", 100));
  EXPECT_FALSE(json_number(object, "f", 100));
  EXPECT_EQ(json_number(object, "big", ~0ULL), ~0ULL);
  EXPECT_EQ(json_bool(object, "b"), true);
  EXPECT_FALSE(json_bool(object, "absent"));
}

TEST(JsonText, PrettyTextReadsBack) {
  const auto parsed = parse_json(R"({"a":[1,{"b":"\u0001\""}],"c":{},"d":[]})");
  ASSERT_TRUE(parsed.value);

  const std::string text = pretty(*parsed.value);

  EXPECT_EQ(text,
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"\\u0001\\\"\"\n    }\n  ],\n  \"c\": "
            "{},\n  \"d\": []\n}\n");
  EXPECT_EQ(parse_json(text).value, parsed.value);
}

TEST(JsonText, MakesAnyTextSafeToShow) {
  EXPECT_EQ(json_safe("a\x1b[2J\xc2\x9b\xff z"), "a?[2J?? z");
  EXPECT_LT(json_safe(std::string(1'000'000, 'x')).size(), 5'000u);
}

}  // namespace
}  // namespace openp2p::agent
