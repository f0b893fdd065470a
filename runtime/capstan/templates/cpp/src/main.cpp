#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

static std::string trimmed(const std::string &line) {
    const auto is_space = [](unsigned char c) { return std::isspace(c) != 0; };
    const auto first = std::find_if_not(line.begin(), line.end(), is_space);
    const auto last = std::find_if_not(line.rbegin(), line.rend(), is_space).base();
    return first < last ? std::string(first, last) : std::string();
}

int main(int argc, char **argv) {
    bool shout = false;
    for (int i = 1; i < argc; i++) {
        if (std::string_view(argv[i]) != "--shout") {
            std::cerr << "usage: {{name}} [--shout] < NAMES\n";
            return EXIT_FAILURE;
        }
        shout = true;
    }
    const char *variable = std::getenv("GREETING");
    const std::string greeting = variable ? variable : "Hello";
    std::size_t greeted = 0;
    for (std::string line; std::getline(std::cin, line);) {
        const std::string name = trimmed(line);
        if (name.empty()) {
            continue;
        }
        std::string text = greeting + ", " + name + "!";
        if (shout) {
            std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
        }
        std::cout << text << '\n';
        greeted++;
    }
    if (greeted == 0) {
        std::cerr << "no names on stdin\n";
        return EXIT_FAILURE;
    }
    return std::cout.flush() ? EXIT_SUCCESS : EXIT_FAILURE;
}
