//! The conformance job in Zig. ../README.md says what each command does.

const std = @import("std");
const Io = std.Io;

pub fn main(init: std.process.Init) !u8 {
    const io = init.io;
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    if (args.len < 2) return 2;
    const command = args[1];
    const rest = args[2..];

    var buffer: [256]u8 = undefined;
    var stdout = Io.File.stdout().writerStreaming(io, &buffer);
    const out = &stdout.interface;
    defer out.flush() catch {};

    if (is(command, "args")) {
        for (rest) |arg| try out.print("{s}\n", .{arg});
    } else if (is(command, "env")) {
        const value = init.environ_map.get(rest[0]) orelse return 3;
        try out.print("{s}\n", .{value});
    } else if (is(command, "cat")) {
        _ = try copyStdin(io);
    } else if (is(command, "stderr")) {
        std.debug.print("{s}\n", .{rest[0]});
    } else if (is(command, "copy")) {
        const from = try find(init.preopens, rest[0]);
        const to = try find(init.preopens, rest[1]);
        try Io.Dir.copyFile(from.dir, from.path, to.dir, to.path, io, .{});
    } else if (is(command, "exit")) {
        return try std.fmt.parseInt(u8, rest[0], 10);
    } else if (is(command, "random")) {
        var random: [16]u8 = undefined;
        try io.randomSecure(&random);
        try out.print("{x}\n", .{&random});
    } else if (is(command, "clock")) {
        try printClock(io, out);
    } else if (is(command, "stream")) {
        std.debug.print("{d}\n", .{try copyStdin(io)});
    } else if (is(command, "trap")) {
        failOnPurpose(args.len);
    } else if (is(command, "catch")) {
        if (std.fmt.parseInt(u8, "x", 10)) |number| {
            try out.print("{d}\n", .{number});
        } else |_| {
            try out.print("caught not a number\n", .{});
        }
    } else return 2;
    return 0;
}

fn is(command: []const u8, name: []const u8) bool {
    return std.mem.eql(u8, command, name);
}

const Place = struct { dir: Io.Dir, path: []const u8 };

/// Returns the mount of a path and the rest of the path. The standard library resolves all paths against the first mount.
fn find(preopens: std.process.Preopens, path: []const u8) !Place {
    for (preopens.map.keys(), 0..) |name, index| {
        if (index > 2 and std.mem.startsWith(u8, path, name) and path.len > name.len and path[name.len] == '/') {
            return .{ .dir = .{ .handle = @intCast(index) }, .path = path[name.len + 1 ..] };
        }
    }
    return error.FileNotFound;
}

fn copyStdin(io: Io) !u64 {
    var buffer: [64 << 10]u8 = undefined;
    var count: u64 = 0;
    while (true) {
        const length = Io.File.stdin().readStreaming(io, &.{&buffer}) catch |err| switch (err) {
            error.EndOfStream => return count,
            else => return err,
        };
        try Io.File.stdout().writeStreamingAll(io, buffer[0..length]);
        count += length;
    }
}

fn printClock(io: Io, out: *Io.Writer) !void {
    const start = Io.Clock.awake.now(io);
    var now = start;
    while (now.nanoseconds == start.nanoseconds) now = Io.Clock.awake.now(io);
    const wall = Io.Clock.real.now(io);
    try out.print("{d} {d}\n", .{ @divTrunc(wall.nanoseconds, std.time.ns_per_s), now.nanoseconds - start.nanoseconds });
}

noinline fn failOnPurpose(count: usize) void {
    if (count < 8) @panic("on purpose");
}
