<?php
// The back end of the bind example in PHP: its own login, its own data, and Gatebus over HTTP.
//
//   GATEBUS_BIND_API=http://127.0.0.1:7281 GATEBUS_BIND_TOKEN_FILE=tokens php -S 127.0.0.1:8081 bind.php
//
// src/app.rs is the same in Rust.

declare(strict_types=1);

// The users and their passwords. An application of your own keeps hashes, in a database.
const USERS = ['ann' => 'tulip', 'bob' => 'maple'];
const ORDERS = [
    'ann' => [['id' => 101, 'what' => 'Garden chair', 'step' => 1], ['id' => 102, 'what' => 'Tea, 500 g', 'step' => 0]],
    'bob' => [['id' => 201, 'what' => 'Bicycle bell', 'step' => 2], ['id' => 202, 'what' => 'Lamp', 'step' => 0]],
];
const STEPS = 4;
// Pages of one login; one more takes the place of the oldest.
const MOST_PAGES = 50;
const FILES = [
    '/' => ['index.html', 'text/html'],
    '/bind.css' => ['bind.css', 'text/css'],
    '/bind.js' => ['bind.js', 'text/javascript'],
];

/** Does a command if there is a body, which may be empty, else asks; null where there is no such client, or its session has changed. */
function gatebus(string $path, ?array $body = null): ?array
{
    $token = strtok(file_get_contents(getenv('GATEBUS_BIND_TOKEN_FILE')), " \n");
    $http = ['header' => ["Authorization: Bearer $token", 'Content-Type: application/json'], 'ignore_errors' => true];
    if ($body !== null) {
        $http += ['method' => 'POST', 'content' => json_encode((object) $body)];
    }
    $url = (getenv('GATEBUS_BIND_API') ?: 'http://127.0.0.1:7281') . "/v1/$path";
    $answer = @file_get_contents($url, false, stream_context_create(['http' => $http]));
    $answer = $answer === false ? null : json_decode($answer, true);
    if (in_array($answer['error']['code'] ?? null, ['no_client', 'conflict'], true)) {
        return null;
    }
    if ($answer === null || isset($answer['error'])) {
        error_log($answer['error']['message'] ?? 'Gatebus does not answer');
        answer(503, ['error' => 'try again in a moment']);
    }
    return $answer;
}

/** Ends what these connections are shown. The close codes are the application's own; the page knows them. */
function end_pages(array $clients, int $code, string $reason): void
{
    if ($clients) {
        $target = ['clients' => $clients];
        $done = gatebus('batch', ['calls' => [
            ['target' => $target, 'command' => 'unbind_uid'],
            ['target' => $target, 'command' => 'close', 'code' => $code, 'reason' => $reason],
        ]]);
        foreach ($done['results'] as $result) {
            if (isset($result['error'])) {
                error_log($result['error']['message']);
                answer(503, ['error' => 'try again in a moment']);
            }
        }
    }
}

/** Ends the request. */
function answer(int $status, ?array $body = null): never
{
    http_response_code($status);
    if ($body !== null) {
        header('Content-Type: application/json');
        echo json_encode($body);
    }
    exit;
}

/** The body of the request. Only a page of our own sends JSON together with the login's cookie. */
function given(): array
{
    if (!str_starts_with($_SERVER['CONTENT_TYPE'] ?? '', 'application/json')) {
        answer(415, ['error' => 'JSON is needed']);
    }
    return json_decode(file_get_contents('php://input'), true) ?: [];
}

/** Whoever is logged in. */
function user(): string
{
    return $_SESSION['user'] ?? answer(401, ['error' => 'log in first']);
}

/** The user's orders, after $change has been made to them. */
function orders(string $user, ?callable $change = null): array
{
    $file = fopen(sys_get_temp_dir() . "/gatebus-bind-$user-" . $_SERVER['SERVER_PORT'] . '.json', 'c+');
    flock($file, LOCK_EX);
    $orders = json_decode(stream_get_contents($file), true) ?: ORDERS[$user];
    if ($change !== null) {
        $change($orders);
        ftruncate($file, 0);
        rewind($file);
        fwrite($file, json_encode($orders));
    }
    fclose($file);
    return $orders;
}

header("Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    . "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
header('X-Content-Type-Options: nosniff');
header('Referrer-Policy: no-referrer');
header('Cache-Control: no-store');

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (isset(FILES[$path])) {
    [$name, $type] = FILES[$path];
    header("Content-Type: $type; charset=utf-8");
    readfile(__DIR__ . "/page/$name");
    exit;
}
if ($path === '/config.json') {
    answer(200, ['gateway' => getenv('GATEBUS_BIND_GATEWAY') ?: null, 'backend' => 'PHP']);
}

// Other sites cannot have the cookie sent along, and no script reads it.
const LOGIN = ['name' => 'login-php', 'cookie_httponly' => true, 'cookie_samesite' => 'Strict', 'use_strict_mode' => true];
session_start(LOGIN);

switch ($_SERVER['REQUEST_METHOD'] . " $path") {
    case 'GET /me':
        answer(200, ['name' => $_SESSION['user'] ?? null]);

    case 'POST /login':
        ['name' => $name, 'password' => $password] = given() + ['name' => '', 'password' => ''];
        if (!is_string($name) || !is_string($password) || !hash_equals(USERS[$name] ?? '', $password) || $password === '') {
            answer(403, ['error' => 'name or password is wrong']);
        }
        session_regenerate_id(true);
        $_SESSION = ['user' => $name, 'clients' => []];
        answer(204);

    case 'POST /logout':
        // Ends the login, and what its pages are shown.
        // The login goes last: if the pages cannot be ended, it still knows them when the user tries again.
        end_pages($_SESSION['clients'] ?? [], 4001, 'logged out');
        session_destroy();
        answer(204);

    case 'POST /bind':
        // *Who* it is stands in the login and never in the body. *Which* connection stands in the body, where
        // anybody could write anybody's client id: so it must come with the secret that only this connection
        // was told, and that its session holds.
        $user = user();
        ['client_id' => $client, 'secret' => $secret] = given() + ['client_id' => '', 'secret' => ''];
        if (!is_string($client) || !preg_match('/^[0-9a-f]{20}$/D', $client) || !is_string($secret)) {
            answer(422, ['error' => 'client_id and secret are needed']);
        }
        $visit = gatebus("client/$client/session");
        $known = $visit['session']['secret'] ?? '';
        if (!is_string($known) || $known === '' || !hash_equals($known, $secret)) {
            answer(403, ['error' => 'this is not the connection of your page']);
        }
        // It opens one door, once: of two who come with it at the same time one takes it.
        $taken = ['session' => ['secret' => null], 'version' => $visit['version']];
        if (gatebus("client/$client/update_session_if", $taken) === null) {
            answer(403, ['error' => 'this is not the connection of your page']);
        }
        // Remembered before it is bound: whatever becomes of this request, a logout ends the connection.
        $clients = [...$_SESSION['clients'], $client];
        end_pages(array_splice($clients, 0, -MOST_PAGES), 4002, 'open in too many pages');
        $_SESSION['clients'] = $clients;
        session_write_close();
        gatebus("client/$client/bind_uid", ['uid' => $user]);
        session_start(LOGIN);
        if (!in_array($client, $_SESSION['clients'] ?? [], true)) {
            // logged out meanwhile, before there was anything to unbind
            end_pages([$client], 4001, 'logged out');
            answer(401, ['error' => 'log in first']);
        }
        $news = ['type' => 'orders', 'user' => $user, 'orders' => orders($user)];
        gatebus("client/$client/send", ['text' => json_encode($news)]);
        answer(204);

    case 'POST /advance':
        // Something happens to an order: all pages of its owner hear of it, wherever they are.
        $user = user();
        $id = given()['order'] ?? null;
        $changed = null;
        orders($user, function (array &$orders) use ($id, &$changed): void {
            foreach ($orders as &$order) {
                if ($order['id'] === $id) {
                    $order['step'] = ($order['step'] + 1) % STEPS;
                    $changed = $order;
                }
            }
        });
        if ($changed === null) {
            answer(404, ['error' => 'you have no such order']);
        }
        gatebus('uid/' . rawurlencode($user) . '/send', ['text' => json_encode(['type' => 'order', 'order' => $changed])]);
        answer(204);

    default:
        answer(404, ['error' => 'there is nothing here']);
}
